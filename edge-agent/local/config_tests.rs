use crate::config::Config;
use crate::fault::FaultCode;

fn listen(text: &str) -> Result<Option<String>, Vec<FaultCode>> {
    let text = format!("gateway = {{ id = \"g\", token = \"t\" }}\nspool = {{ dir = \"/tmp/s\" }}\n{text}");
    match Config::read(&text, []) {
        Ok(config) => Ok(config.local.listen.map(|address| address.to_string())),
        Err(error) => Err(error.faults.into_iter().map(|fault| fault.code).collect()),
    }
}

#[test]
fn the_page_listens_on_loopback_or_not_at_all() {
    assert_eq!(listen(""), Ok(Some("127.0.0.1:8089".into())));
    assert_eq!(listen("local = { listen = \"[::1]:9\" }"), Ok(Some("[::1]:9".into())));
    assert_eq!(listen("local = { listen = \"\" }"), Ok(None));
    for open in ["0.0.0.0:8089", "[::]:8089", "10.0.0.5:8089"] {
        assert_eq!(listen(&format!("local = {{ listen = \"{open}\" }}")), Err(vec![FaultCode::ListenNotLoopback]), "{open}");
    }
    assert_eq!(listen("local = { listen = \"8089\" }"), Err(vec![FaultCode::AddressInvalid]));
}
