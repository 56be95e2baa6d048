//! What a usage entry may hold: the rules that its ways in share. They are those of the service, but for what its register lists: of
//! products and function modules it alone knows.

use chrono::{DateTime, Utc};
use wire::limits;

use crate::table::name_valid;

/// A name or id as a factory's system writes it.
const USER_CHARS_MAX: usize = 256;
/// The service allows more; the rest is left to clocks that differ.
const FUTURE_S_MAX: i64 = 60;

/// A rule that a field breaks. The names stay; scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Object,
    Missing,
    Unknown,
    Text,
    Name,
    User,
    Instant,
    Future,
    Actions,
    ActiveS,
}

impl Rule {
    pub fn name(self) -> &'static str {
        match self {
            Rule::Object => "object",
            Rule::Missing => "missing",
            Rule::Unknown => "unknown",
            Rule::Text => "text",
            Rule::Name => "name",
            Rule::User => "user",
            Rule::Instant => "instant",
            Rule::Future => "future",
            Rule::Actions => "actions",
            Rule::ActiveS => "active_s",
        }
    }

    pub fn zh(self) -> &'static str {
        match self {
            Rule::Object => "每条使用记录应为 JSON 对象",
            Rule::Missing => "缺少此项",
            Rule::Unknown => "不认识此项；可用 product、function_module、user、at、actions、active_s",
            Rule::Text => "应为文字",
            Rule::Name => "须为 1 至 64 个字符，且不含控制字符",
            Rule::User => "须为 1 至 256 个字符，且不含控制字符和乱码",
            Rule::Instant => "应为带时区的 RFC 3339 时间，如 2019-11-05T08:00:10+08:00",
            Rule::Future => "时间晚于现在 60 秒以上；请核对时钟和时区",
            Rule::Actions => "应为 1 至 100000 的整数",
            Rule::ActiveS => "应为 0 至 86400 的整数（秒）",
        }
    }

    pub fn en(self) -> &'static str {
        match self {
            Rule::Object => "each entry is a JSON object",
            Rule::Missing => "is missing",
            Rule::Unknown => "is not known; known are product, function_module, user, at, actions, active_s",
            Rule::Text => "must be a text",
            Rule::Name => "must have 1 to 64 characters and no control characters",
            Rule::User => "must have 1 to 256 characters, no control characters and nothing unreadable",
            Rule::Instant => "must be an RFC 3339 instant with its offset, such as 2019-11-05T08:00:10+08:00",
            Rule::Future => "is more than 60 s after now; check the clock and the offset",
            Rule::Actions => "must be a whole number from 1 to 100000",
            Rule::ActiveS => "must be a whole number from 0 to 86400, in seconds",
        }
    }

    /// A user as it is pseudonymised: blanks around it make no other user.
    pub fn user(text: &str) -> Result<&str, Rule> {
        let user = text.trim();
        let sound = (1..=USER_CHARS_MAX).contains(&user.chars().count()) && !user.chars().any(|c| c.is_control() || c == '\u{FFFD}');
        if sound { Ok(user) } else { Err(Rule::User) }
    }

    pub fn name_of(text: &str) -> Result<&str, Rule> {
        if name_valid(text) && !text.contains('\u{FFFD}') { Ok(text) } else { Err(Rule::Name) }
    }

    pub fn at(at: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Rule> {
        if (at - now).num_seconds() > FUTURE_S_MAX { Err(Rule::Future) } else { Ok(at) }
    }

    pub fn actions(number: Option<u64>) -> Result<u32, Rule> {
        let number = number.filter(|number| (1..=limits::ACTIONS_MAX).contains(number));
        number.and_then(|number| u32::try_from(number).ok()).ok_or(Rule::Actions)
    }

    pub fn active_s(number: Option<u64>) -> Result<u32, Rule> {
        let number = number.filter(|number| *number <= limits::ACTIVE_S_MAX);
        number.and_then(|number| u32::try_from(number).ok()).ok_or(Rule::ActiveS)
    }
}
