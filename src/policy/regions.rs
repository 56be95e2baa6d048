//! Codes of provinces and of Guangdong's cities (GB/T 2260). The standard has no check digit: a code is held against the list.

use std::borrow::Cow;

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

/// The city that a place lies in: in Guangdong a district's code leads to its prefecture-level city's, every other code is left as it is.
pub fn city_of(code: &str) -> Cow<'_, str> {
    let district = city_known(code) && code.starts_with(GUANGDONG) && &code[2..4] != "00" && &code[4..] != "00";
    if district { Cow::Owned(format!("{}00", &code[..4])) } else { Cow::Borrowed(code) }
}

/// Whether two places lie in one city.
pub fn same_city(one: &str, other: &str) -> bool {
    city_of(one) == city_of(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_district_of_guangdong_belongs_to_its_city_and_nothing_else_is_changed() {
        for (code, city) in [("440106", "440100"), ("440605", "440600"), ("442001", "442000"), ("440100", "440100")] {
            assert_eq!(city_of(code), city);
        }
        for code in ["440000", "440001", "110105", "S-1", "441001", ""] {
            assert_eq!(city_of(code), code, "no district of a city of Guangdong");
        }
        assert!(same_city("440106", "440112") && same_city("440106", "440100") && !same_city("440106", "440306"));
    }

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
