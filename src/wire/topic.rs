//! The topics below `shangyun/v1/`: who may publish and subscribe where.

pub const ROOT: &str = "shangyun/v1/";
pub const VERDICTS: &str = "verdicts";

/// A gateway id: `[A-Za-z0-9._-]{1,64}`. `verdicts` is taken by the public feed.
pub fn gateway_id_valid(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && id != VERDICTS
}

/// The client id of a gateway's connection is the gateway id, or lies below it (`<id>/…`).
pub fn client_id_valid(client_id: &str, gateway: &str) -> bool {
    match client_id.strip_prefix(gateway) {
        Some("") => true,
        Some(rest) => rest.starts_with('/') && rest.len() > 1 && client_id.len() <= 256 && !rest.contains(char::is_control),
        None => false,
    }
}

/// What a service topic below a gateway is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayTopic {
    Report,
    Refused,
    Receipt,
    Standing,
}

impl GatewayTopic {
    pub const ALL: [(GatewayTopic, &str); 4] = [
        (GatewayTopic::Report, "report"),
        (GatewayTopic::Refused, "refused"),
        (GatewayTopic::Receipt, "receipt"),
        (GatewayTopic::Standing, "standing"),
    ];

    pub fn of(self, gateway: &str) -> String {
        let name = Self::ALL.iter().find(|(topic, _)| *topic == self).map_or("", |(_, name)| name);
        format!("{ROOT}{gateway}/{name}")
    }
}

pub fn verdicts(city: &str) -> String {
    format!("{ROOT}{VERDICTS}/{city}")
}

/// Is this the topic on which `gateway` reports?
pub fn report_topic_of(topic: &str, gateway: &str) -> bool {
    topic.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix(gateway)) == Some("/report")
}

/// The gateway below whose topics this one lies; the public feeds lie below none.
pub fn gateway_of(topic: &str) -> Option<&str> {
    let (gateway, _) = topic.strip_prefix(ROOT)?.split_once('/')?;
    gateway_id_valid(gateway).then_some(gateway)
}

/// Does the topic lie below the gateway's own?
pub fn below_gateway(topic: &str, gateway: &str) -> bool {
    let rest = topic.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix(gateway));
    rest.is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
}

/// MQTT's grammar of topic names: no wildcards, no NUL.
pub fn topic_name_valid(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// MQTT's grammar of topic filters: `+` fills a level, `#` fills the last.
pub fn topic_filter_valid(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "#" if levels.peek().is_some() => return false,
            "#" | "+" => {}
            level if level.contains(['#', '+']) => return false,
            _ => {}
        }
    }
    true
}

/// A gateway subscribes below `shangyun/v1/<its id>/` and to the public feeds; wildcards only below those.
pub fn subscription_allowed(filter: &str, gateway: &str) -> bool {
    if !topic_filter_valid(filter) {
        return false;
    }
    let Some(rest) = filter.strip_prefix(ROOT) else { return false };
    let below = |head: &str| rest.strip_prefix(head).is_some_and(|tail| tail.starts_with('/') && tail.len() > 1);
    below(gateway) || below(VERDICTS)
}

/// Does a topic match a filter? Both are of valid grammar.
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut names = topic.split('/');
    for level in filter.split('/') {
        match (level, names.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_subscribes_only_below_itself_and_to_the_public_feeds() {
        for allowed in [
            "shangyun/v1/gw-1/refused",
            "shangyun/v1/gw-1/#",
            "shangyun/v1/gw-1/+",
            "shangyun/v1/verdicts/440100",
            "shangyun/v1/verdicts/+",
        ] {
            assert!(subscription_allowed(allowed, "gw-1"), "{allowed}");
        }
        for refused in [
            "#",
            "+/v1/gw-1/refused",
            "shangyun/v1/+/refused",
            "shangyun/v1/gw-2/refused",
            "shangyun/v1/gw-1",
            "shangyun/v1/gw-10/refused",
            "$SYS/#",
            "$share/g/shangyun/v1/gw-1/report",
            "shangyun/v1/gw-1/#/x",
        ] {
            assert!(!subscription_allowed(refused, "gw-1"), "{refused}");
        }
    }

    #[test]
    fn a_topic_names_its_gateway_and_the_public_feeds_name_none() {
        for (topic, gateway) in [
            ("shangyun/v1/gw-1/standing", Some("gw-1")),
            ("shangyun/v1/gw-1/a/b", Some("gw-1")),
            ("shangyun/v1/verdicts/440100", None),
            ("shangyun/v1/gw-1", None),
            ("x/gw-1/standing", None),
        ] {
            assert_eq!(gateway_of(topic), gateway, "{topic}");
        }
    }

    #[test]
    fn filters_match_as_in_mqtt() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/b", "a", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn client_ids_lie_at_or_below_the_gateway() {
        for (client, valid) in [("gw-1", true), ("gw-1/monitor", true), ("gw-1/", false), ("gw-1/\0", false), ("gw-10", false), ("", false)]
        {
            assert_eq!(client_id_valid(client, "gw-1"), valid, "{client}");
        }
    }
}
