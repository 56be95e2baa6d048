//! `shangyun-edge enrol`: with a one-time key the service comes to know this gateway by its public key, and gives what reporting needs.
//! The private key stays here. Files appear whole or not at all, and whoever has lost the answer gets it again with the same two keys.

mod answer;
mod failure;
mod files;
mod places;
mod request;
mod waiting;

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use wire::PublicKey;
use wire::enrolment::{to_be_signed, write_proof};

use crate::key::{FileKey, KeyError, Signer};
use answer::Answer;
use failure::Failure;
use files::{Draft, Written};
use places::Places;
use request::Service;
use waiting::Waiting;

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, clap::Args)]
pub struct EnrolArgs {
    /// The service, such as https://shangyun.example.cn
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// The gateway's one-time key, from the service's administrator (shangyun key create --role enrol); - reads it from standard input
    #[arg(long, value_name = "KEY")]
    pub token: String,
    /// The configuration (TOML), for the gateway's id and where its files are
    #[arg(long, value_name = "FILE", default_value = "/etc/shangyun-edge/config.toml")]
    pub config: PathBuf,
    /// PEM file of the CA that issued the service's certificate, if it is none that everybody knows
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

pub fn run(args: &EnrolArgs) -> ExitCode {
    match enrol(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit)
        }
    }
}

fn enrol(args: &EnrolArgs) -> Result<(), Failure> {
    let places = Places::read(&args.config)?;
    let secret = secret(&args.token)?;
    let service = Service::new(&args.url, args.ca_file.as_deref())?;
    if service.plain_and_far() {
        eprintln!("警告：{} 不是 https，一次性密钥和令牌会以明文经过网络", args.url);
        eprintln!("warning: {} is no https address: the one-time key and the token cross the network in plain text", args.url);
    }
    // What cannot be written later is found out before anything is used up.
    let pseudonym_file = Draft::begin(&places.pseudonym_key.path, SECRET)?;
    let receipt_file = Draft::begin(&places.receipt_keys.path, PUBLIC)?;
    let token_file = places.token.as_ref().map(|token| Draft::begin(&token.path, SECRET)).transpose()?;
    let (key, key_made) = key(&places.key.path, &places.gateway)?;
    let public = public_of(&key, &places)?;
    let answer = service.enrol(&secret, &places.gateway, &question(&key, &public, &places)?)?;
    let answer = Answer::read(&answer, &places)?;
    let mut written = vec![
        (places.key.path.as_path(), if key_made { Written::New } else { Written::Same }),
        (places.pseudonym_key.path.as_path(), pseudonym_file.put(format!("{}\n", answer.pseudonym_key).as_bytes())?),
        (places.receipt_keys.path.as_path(), receipt_file.put(format!("{:#}\n", answer.receipt_keys).as_bytes())?),
    ];
    if let (Some(file), Some(place), Some(token)) = (token_file, &places.token, &answer.token) {
        written.push((place.path.as_path(), file.put(format!("{token}\n").as_bytes())?));
    }
    tell(args, &places, &answer, &written);
    if let Some(waiting) = places.spool.as_deref().and_then(|dir| Waiting::look(dir, &public)) {
        eprintln!("{waiting}");
    }
    Ok(())
}

fn secret(token: &str) -> Result<String, Failure> {
    let mut text = token.to_string();
    if token == "-" {
        text.clear();
        let read = std::io::stdin().take(4096).read_to_string(&mut text);
        read.map_err(|error| Failure::use_of("--token", format!("标准输入读不到：{error}"), format!("cannot be read: {error}")))?;
    }
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::use_of(
            "--token",
            "不是一次性密钥；请原样粘贴管理员给的那一行",
            "is no one-time key; paste the line that the administrator gave",
        ));
    }
    Ok(text.to_string())
}

/// The gateway's key, made if there is none; and whether it was.
fn key(path: &Path, gateway: &str) -> Result<(FileKey, bool), Failure> {
    let told = |error: KeyError| {
        Failure::use_of(path.display(), format!("网关私钥不可用：{error}"), format!("the gateway's key cannot be used: {error}"))
    };
    let made = !path.exists();
    let key = if made { FileKey::create(path, gateway) } else { FileKey::load(path, gateway) }.map_err(told)?;
    // Also of a key that was there: whoever made it may not have come so far.
    files::belong(path).map_err(|error| Failure::unwritten(path, &error))?;
    Ok((key, made))
}

fn unusable(places: &Places, error: impl Display) -> Failure {
    Failure::use_of(places.key.path.display(), format!("网关私钥不可用：{error}"), error.to_string())
}

fn public_of(key: &FileKey, places: &Places) -> Result<PublicKey, Failure> {
    PublicKey::of(&key.public_key()).map_err(|error| unusable(places, error))
}

/// What the service is asked.
fn question(key: &FileKey, public: &PublicKey, places: &Places) -> Result<String, Failure> {
    let signature = key.sign(&to_be_signed(&places.gateway)).map_err(|error| unusable(places, error))?;
    let mut question = json!({
        "v": 1, "gateway": places.gateway, "public_key": public.to_string(), "proof": write_proof(&signature),
    });
    if places.token.is_some() {
        question["token"] = json!(true);
    }
    Ok(question.to_string())
}

fn tell(args: &EnrolArgs, places: &Places, answer: &Answer, written: &[(&Path, Written)]) {
    println!("网关 {} 已登记，属企业 {}", answer.gateway, answer.enterprise);
    println!("gateway {} is enrolled, of enterprise {}", answer.gateway, answer.enterprise);
    if answer.repeated {
        println!("一次性密钥此前已由本机用过：服务端没有改动，给出了与上次相同的答复");
        println!("this gateway had used the one-time key before: nothing was changed in the service, and its answer is that of before");
    }
    for (path, written) in written {
        println!("  {written}  {}", path.display());
    }
    if places.token.is_none() {
        println!(
            "  未另取令牌：配置中已有 token 或客户端证书 · no token was fetched: the configuration has a token or a client certificate"
        );
    }
    println!("接下来 · next:");
    let mut step = 0;
    let mut next = |zh: &str, en: &str| {
        step += 1;
        println!("  {step}. {zh} · {en}");
    };
    let lines = places.lines_missing();
    if !lines.is_empty() {
        let config = args.config.display();
        next(
            &format!("在 {config} 中各写到所示的节下（不写则不会签名，报告会被拒收）"),
            &format!("add to {config}, each under its section (without its key the agent signs nothing, and its reports are refused)"),
        );
        lines.iter().for_each(|(section, line)| println!("       [{section}] 下 under:  {line}"));
    }
    if !answer.mqtt_urls.is_empty() {
        let urls = answer.mqtt_urls.join("  ");
        next(&format!("[broker] 的地址：{urls}"), "the address for [broker]");
    }
    let config = args.config.display();
    next(&format!("shangyun-edge check --config {config}"), "says what would still keep it from working");
    next("重新启动 shangyun-edge（如 systemctl restart shangyun-edge）", "restart the agent");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, chown};

    use super::*;

    #[test]
    fn a_key_that_roots_last_attempt_left_to_root_is_given_to_the_agents_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        let made = FileKey::create(&path, "gw-1").unwrap();
        // Nobody but root may give a directory away.
        let given = chown(dir.path(), Some(4321), Some(4321)).is_ok();
        let (found, new) = key(&path, "gw-1").unwrap();
        assert_eq!((found.public_key(), new), (made.public_key(), false));
        let wanted = if given { 4321 } else { std::fs::metadata(dir.path()).unwrap().uid() };
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), wanted);
    }
}
