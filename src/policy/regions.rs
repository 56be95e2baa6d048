//! Codes of provinces and of Guangdong's cities (GB/T 2260). The standard has no check digit: a code is held against the list.

/// The first two digits: provinces, autonomous regions, municipalities, special administrative regions.
const PROVINCES: [&str; 34] = [
    "11", "12", "13", "14", "15", "21", "22", "23", "31", "32", "33", "34", "35", "36", "37", "41", "42", "43", "44", "45", "46", "50",
    "51", "52", "53", "54", "61", "62", "63", "64", "65", "71", "81", "82",
];

const GUANGDONG: &str = "44";

/// The third and fourth digit in Guangdong: its 21 prefecture-level cities.
const GUANGDONG_CITIES: [&str; 21] =
    ["01", "02", "03", "04", "05", "06", "07", "08", "09", "12", "13", "14", "15", "16", "17", "18", "19", "20", "51", "52", "53"];

pub fn province_known(code: &str) -> bool {
    PROVINCES.contains(&code)
}

/// Six digits: a province, or a place in one; in Guangdong only in a prefecture-level city that there is, or the province itself.
pub fn city_known(code: &str) -> bool {
    let digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    digits && province_known(&code[..2]) && (&code[..2] != GUANGDONG || &code[2..] == "0000" || GUANGDONG_CITIES.contains(&&code[2..4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_there_are_pass_and_others_do_not() {
        for code in ["440100", "440106", "440300", "445300", "441900", "440000", "110000", "310115", "820000"] {
            assert!(city_known(code), "{code}");
        }
        for code in ["441000", "449900", "445400", "990000", "100100", "44010", "4401000", "44010a", "４４０１００"] {
            assert!(!city_known(code), "{code}");
        }
        assert!(province_known("44") && !province_known("40"));
    }
}
