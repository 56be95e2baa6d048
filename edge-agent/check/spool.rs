//! The spool: whether it can be written, has room for an outage, and is whole. Nothing of it is changed, also while an agent uses it.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access, statvfs};

use super::Findings;
use crate::config::Config;
use crate::fault::FaultCode;
use crate::spool::{Inspection, inspect};

/// What a report takes on disk beside its entries: signature, head, the names of points. Rounded up, as are the next two:
/// 200 devices of 20 points every 60 s were measured at 1.2 MB an hour.
const REPORT_BYTES: f64 = 500.0;
const ENTRY_BYTES: f64 = 20.0;
const POINT_BYTES: f64 = 4.5;
const HOURS_WANTED: u64 = 72;
/// A report may have been spooled by a clock that was a little ahead.
const AHEAD_MS_MAX: u64 = 60_000;

pub(super) fn look(config: &Config, found: &mut Findings) {
    if found.fault_at("spool.dir") {
        return;
    }
    let dir = &config.spool.dir;
    let inspection = match writable(dir).and_then(|()| inspect(dir).or_else(absent)) {
        Ok(inspection) => inspection,
        Err(error) => {
            found.add(
                FaultCode::SpoolUnusable,
                "spool.dir",
                format!("不能使用 {}：{error}；请检查目录与权限", dir.display()),
                format!("{} cannot be used: {error}; check the directory and its permissions", dir.display()),
            );
            return;
        }
    };
    damage(&inspection, found);
    clock_behind(&inspection, found);
    if !found.fault_at("spool.bytes_max") {
        disk_space(config, &inspection, found);
        hours(config, found);
    }
}

/// Writes a byte to a file without a name. A directory that is missing is not made: it would be of whoever checks, and the agent's
/// user might not be let into it.
fn writable(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return tempfile::tempfile_in(dir)?.write_all(b"x");
    }
    let parent = nearest(dir);
    if parent == dir || !parent.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    access(parent, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let (parent, error) = (parent.display(), io::Error::from(error));
        io::Error::new(error.kind(), format!("it does not exist, and cannot be made in {parent}: {error}"))
    })
}

/// The directory itself, or the nearest above it that is there.
fn nearest(dir: &Path) -> &Path {
    dir.ancestors().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }).find(|dir| dir.exists()).unwrap_or(dir)
}

/// A spool that is not there yet holds nothing.
fn absent(error: io::Error) -> io::Result<Inspection> {
    if error.kind() == io::ErrorKind::NotFound { Ok(Inspection::default()) } else { Err(error) }
}

fn disk_space(config: &Config, inspection: &Inspection, found: &mut Findings) {
    let Ok(stat) = statvfs(nearest(&config.spool.dir)) else { return };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = config.spool.bytes_max.saturating_sub(inspection.bytes);
    if free < needed {
        let (free, needed) = (free >> 20, needed >> 20);
        found.add(
            FaultCode::DiskSpaceShort,
            "spool.bytes_max",
            format!("磁盘只剩 {free} MiB，暂存还可能需要 {needed} MiB；请清理磁盘或调小 spool.bytes_max"),
            format!("{free} MiB are free, the spool may need {needed} MiB more; free some, or lower spool.bytes_max"),
        );
    }
}

fn hours(config: &Config, found: &mut Findings) {
    let hours = hours_held(config);
    if hours < HOURS_WANTED {
        found.add(
            FaultCode::SpoolSmall,
            "spool.bytes_max",
            format!("断网时暂存约可存 {hours} 小时，少于 {HOURS_WANTED} 小时；可调大 spool.bytes_max 或 poll_ms"),
            format!("holds about {hours} hours of an outage, less than {HOURS_WANTED}; raise spool.bytes_max or poll_ms"),
        );
    }
}

/// How long an outage may last before reports are dropped.
fn hours_held(config: &Config) -> u64 {
    let an_hour = |every: std::time::Duration| 3600.0 / every.as_secs_f64();
    let entries: f64 = config.devices.iter().map(|device| an_hour(device.poll)).sum();
    let entry_bytes: f64 =
        config.devices.iter().map(|device| an_hour(device.poll) * (ENTRY_BYTES + POINT_BYTES * device.points.len() as f64)).sum();
    // A report goes when it is full, and when it is time.
    let reports = entries.min(an_hour(config.report.every) + entries / config.report.devices_max as f64);
    let bytes_an_hour = entry_bytes + reports * REPORT_BYTES;
    (config.spool.bytes_max as f64 / bytes_an_hour.max(1.0)) as u64
}

fn clock_behind(inspection: &Inspection, found: &mut Findings) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let ahead_ms = inspection.newest_at_ms.unwrap_or(0).saturating_sub(now_ms);
    if ahead_ms > AHEAD_MS_MAX {
        let minutes = ahead_ms / 60_000;
        found.add(
            FaultCode::ClockWrong,
            "clock",
            format!("本机时钟比暂存中最新的报告早 {minutes} 分钟：时钟被拨回，或当时走快；请先校时"),
            format!(
                "the clock is {minutes} minutes behind the newest report in the spool: it was set back, or was ahead then; set it first"
            ),
        );
    }
}

fn damage(inspection: &Inspection, found: &mut Findings) {
    let (damaged, refused) = (inspection.damaged, inspection.refused);
    if damaged > 0 {
        found.add(
            FaultCode::SpoolDamaged,
            "spool.dir",
            format!("暂存的报告有 {damaged} 份已损坏，将以“dropped”上报；请检查存储介质与电源"),
            format!("{damaged} reports in the spool are damaged and will be declared dropped; check the storage and the power supply"),
        );
    }
    if inspection.marks_damaged {
        found.add(
            FaultCode::SpoolMarksDamaged,
            "spool.dir",
            "送达记录已损坏：暂存的报告会再送一次，不影响计数",
            "what is acknowledged cannot be read: everything in the spool is sent again, which changes no count",
        );
    }
    if refused > 0 {
        found.add(
            FaultCode::ReportsRefused,
            "spool.dir/refused",
            format!("平台拒收过 {refused} 份报告；原因写在该目录的文件里"),
            format!("the service has refused {refused} reports; the files there say why"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(devices: usize, points: usize, poll_ms: u32) -> u64 {
        let point = |i: usize| format!("[[device.point]]\nname = \"p{i}\"\ntable = \"holding\"\naddress = {i}\n");
        let points: String = (0..points).map(point).collect();
        let device = |i: usize| format!("[[device]]\nname = \"SN-{i}\"\naddress = \"tcp://h{i}\"\npoll_ms = {poll_ms}\n{points}");
        let devices: String = (0..devices).map(device).collect();
        hours_held(&Config::read(&format!("[gateway]\nid = \"g\"\ntoken = \"t\"\n[spool]\ndir = \"d\"\n{devices}"), []).unwrap())
    }

    #[test]
    fn the_hours_are_near_what_was_measured_and_never_above() {
        let measured = (256 << 20) / 1_207_180;
        let estimated = held(200, 20, 60_000);
        assert!(estimated <= measured && estimated >= measured * 3 / 4, "{estimated} of {measured}");
        assert!(held(200, 20, 10_000) < HOURS_WANTED && held(1, 20, 1_000) >= HOURS_WANTED);
    }

    #[test]
    fn a_directory_that_is_missing_is_not_made_but_must_be_possible() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("a/b");
        assert!(writable(&wanted).is_ok());
        assert!(!dir.path().join("a").exists());
        std::fs::write(dir.path().join("a"), "").unwrap();
        assert_eq!(writable(&wanted).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(nearest(Path::new("not-there/spool")), Path::new("."));
    }
}
