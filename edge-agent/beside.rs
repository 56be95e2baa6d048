//! What runs beside the reporter: the listener on loopback and the logs that are followed, both with usage for it.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::kept::kept_going;
use crate::local::{self, Local};
use crate::status::Sources;
use crate::tail::{self, LogMarks, Tails};
use crate::usage::Batch;

/// Whoever has more waits.
const BATCHES_WAITING_MAX: usize = 4;

pub(crate) struct Beside {
    /// Usage that waits to be spooled.
    pub batches: mpsc::Receiver<Batch>,
    /// Dropping it ends them.
    _tasks: JoinSet<()>,
}

impl Beside {
    pub fn start(config: &Config, sources: Sources, marks: &LogMarks) -> Beside {
        let (sender, batches) = mpsc::channel(BATCHES_WAITING_MAX);
        let mut tasks = JoinSet::new();
        if let Some(pseudonyms) = &config.usage.pseudonyms {
            let tails = Tails {
                pseudonyms: pseudonyms.clone(),
                product: config.usage.product.clone(),
                marks: marks.clone(),
                batches: sender.clone(),
                counts: sources.usage.clone(),
                clock: sources.clock.clone(),
                every: config.report.every,
            };
            // Where the logs were read up to is not known: each line would count twice, or not at all.
            let logs = if marks.unreadable().is_some() { &[][..] } else { &config.usage.logs };
            for log in logs {
                let (tails, log) = (tails.clone(), log.clone());
                tasks.spawn(kept_going(format!("reading {}", log.file.display()), move || tail::follow(tails.clone(), log.clone())));
            }
        }
        if let Some(listen) = config.local.listen {
            let usage = config.usage.clone();
            tasks.spawn(kept_going("the status page".into(), move || {
                local::serve(listen, Local::new(usage.clone(), sender.clone(), sources.clone()))
            }));
        }
        Beside { batches, _tasks: tasks }
    }
}
