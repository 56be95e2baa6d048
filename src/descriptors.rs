//! How many files and connections the system lets this process open, and who gets how many of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the log, the store, and whatever else is opened now and then.
const RESERVE: usize = 500;
const ADMIN: usize = 200;

/// Connections that each listener may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub mqtt: usize,
    pub http: usize,
    pub admin: usize,
}

/// Asks the system for as many descriptors as it allows, and shares them out; where they are too few for the settings it is said.
pub fn shares(mqtt_wanted: usize, http_wanted: usize) -> Shares {
    let limit = raise();
    let shares = share(limit, mqtt_wanted, http_wanted);
    if (shares.mqtt, shares.http) != (mqtt_wanted, http_wanted) {
        tracing::warn!(
            limit,
            mqtt = shares.mqtt,
            http = shares.http,
            "the system allows too few open files for mqtt.connections_max and http.connections_max: more connections than these are \
             refused; raise the limit (LimitNOFILE= of the unit, or ulimit -Hn)"
        );
    }
    shares
}

fn share(limit: usize, mqtt_wanted: usize, http_wanted: usize) -> Shares {
    let admin = ADMIN.min(limit / 16);
    let left = limit.saturating_sub(admin + RESERVE.min(limit / 4));
    let http = http_wanted.min(left / 4).max(1);
    Shares { mqtt: mqtt_wanted.min(left - http).max(1), http, admin: admin.max(1) }
}

/// Raises the soft limit to the hard one; gives what holds now.
fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let holds = if raised.is_ok() { maximum } else { current };
    // No limit at all is told as none.
    holds.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_what_the_settings_say_where_the_limit_allows_it() {
        assert_eq!(share(20_000, 16_000, 2_000), Shares { mqtt: 16_000, http: 2_000, admin: 200 });
        assert_eq!(share(usize::MAX, 16_000, 2_000), Shares { mqtt: 16_000, http: 2_000, admin: 200 });
    }

    #[test]
    fn where_the_limit_is_low_a_reserve_stays_for_log_and_store() {
        for limit in [1_024, 4_096, 256] {
            let Shares { mqtt, http, admin } = share(limit, 16_000, 2_000);
            assert!(mqtt > http && http > admin, "{limit}");
            assert!(mqtt + http + admin <= limit - RESERVE.min(limit / 4), "{limit}");
        }
    }
}
