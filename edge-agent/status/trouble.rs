//! What is wrong, in words that say what to do; a closed list.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use crate::status::{BrokerState, DeviceStatus, Status, obstacles, words};

/// Less than this is no night without a technician.
const HOURS_LEFT_MIN: f64 = 12.0;
/// Connecting takes a moment.
const CONNECT_S: i64 = 30;
/// A service that takes reports acknowledges within seconds.
const UNACKNOWLEDGED_MIN: i64 = 15;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Scripts may rely on it.
    pub code: String,
    /// A device, a broker, …; may be empty.
    pub place: String,
    pub zh: String,
    pub en: String,
}

impl Trouble {
    pub(super) fn new(code: &str, place: &str, zh: impl Into<String>, en: impl Into<String>) -> Trouble {
        Trouble { code: code.into(), place: place.into(), zh: zh.into(), en: en.into() }
    }
}

/// In the order in which a technician would look.
pub(super) fn troubles(status: &Status) -> Vec<Trouble> {
    let mut out = Vec::new();
    broker(status, &mut out);
    obstacles::troubles(status, &mut out);
    spool(status, &mut out);
    writing(status, &mut out);
    usage(status, &mut out);
    if status.clock_synchronised == Some(false) {
        out.push(Trouble::new(
            "clock_unsynchronised",
            "",
            "时钟未与时间服务器同步；时间偏差大的数据不计入，请检查 NTP",
            "the clock follows no time server; readings with a wrong time do not count, check NTP",
        ));
    }
    for device in &status.devices {
        if device.failing {
            let (zh, en) = match &device.last_error {
                Some(error) => (error.zh.clone(), error.en.clone()),
                None => ("读不到数据".to_string(), "gives no readings".to_string()),
            };
            out.push(Trouble::new("device_failing", &device.name, zh, en));
        } else {
            points(device, &mut out);
        }
        // What fails may be late.
        if device.behind && !device.failing {
            let (poll_ms, took_ms) = (device.poll_ms, device.latency_ms.unwrap_or(0));
            out.push(Trouble::new(
                "device_behind",
                &device.name,
                format!("采集跟不上 poll_ms = {poll_ms}，有采集被跳过（上次读完用了 {took_ms} ms）；请调大 poll_ms，或减少同一总线上的设备"),
                format!("polls are left out: reading does not keep up with poll_ms = {poll_ms} (it took {took_ms} ms); raise poll_ms, or put fewer devices on this bus"),
            ));
        }
    }
    out
}

fn points(device: &DeviceStatus, out: &mut Vec<Trouble>) {
    let (refused, others): (Vec<_>, Vec<_>) = device.missing_points.iter().partition(|point| point.refused);
    if !refused.is_empty() {
        let (zh, en) = words::missing(refused);
        out.push(Trouble::new(
            "points_refused",
            &device.name,
            format!("设备不提供这些采集点，其余照报，但质量记为 D、不计入。{zh}"),
            format!("the machine refuses points; its other readings are reported, but with quality D, which never counts. {en}"),
        ));
    }
    if !others.is_empty() {
        let (zh, en) = words::missing(others);
        out.push(Trouble::new(
            "points_without_value",
            &device.name,
            format!("这些采集点没有可用的值，其余照报，但质量记为 D、不计入。{zh}"),
            format!("points have no value; the other readings are reported, but with quality D, which never counts. {en}"),
        ));
    }
}

fn broker(status: &Status, out: &mut Vec<Trouble>) {
    let broker = &status.broker;
    let place = broker.address.as_deref().unwrap_or_default();
    let connecting = broker.last_error.is_none() && status.at - status.started_at < Duration::seconds(CONNECT_S);
    if broker.state == BrokerState::Offline && !connecting {
        let (zh, en) = broker.last_error.as_ref().map(|error| (error.zh.as_str(), error.en.as_str())).unwrap_or_default();
        out.push(Trouble::new(
            "broker_offline",
            place,
            format!("未连上监测平台，数据暂存在本机，恢复后补传。{zh}"),
            format!("not connected; reports wait on this gateway and follow later. {en}"),
        ));
    }
    // Reports may be hours apart: what has just been spooled has not waited.
    let oldest_at = status.spool.as_ref().filter(|spool| spool.waiting > 0).and_then(|spool| spool.oldest_at);
    let since = broker.last_acknowledged_at.max(broker.connected_since).max(oldest_at);
    let long = since.is_some_and(|since| status.at - since >= Duration::minutes(UNACKNOWLEDGED_MIN));
    if broker.state != BrokerState::Offline && oldest_at.is_some() && long && broker.obstacles.doubted == 0 {
        out.push(Trouble::new(
            "reports_unacknowledged",
            place,
            format!("已连接，但 {UNACKNOWLEDGED_MIN} 分钟以上没有报告得到确认；请联系平台管理员"),
            format!("connected, and no report was acknowledged for {UNACKNOWLEDGED_MIN} min; ask the service's administrator"),
        ));
    }
    if broker.refused_total > 0 {
        let count = broker.refused_total;
        out.push(Trouble::new(
            "reports_refused",
            place,
            format!("平台拒收了 {count} 份报告，内容与原因在暂存目录的 refused/ 下"),
            format!("the service refused {count} reports; they and the reasons are in refused/ below spool.dir"),
        ));
    }
}

fn spool(status: &Status, out: &mut Vec<Trouble>) {
    let Some(spool) = &status.spool else {
        out.push(Trouble::new(
            "spool_unreadable",
            "spool.dir",
            "暂存目录读写失败；请检查磁盘",
            "the spool's disk gives errors; check the disk",
        ));
        return;
    };
    if let Some(hours_left) = spool.hours_left.filter(|hours| *hours < HOURS_LEFT_MIN) {
        out.push(Trouble::new(
            "spool_nearly_full",
            "spool.bytes_max",
            format!("暂存空间只够断网 {hours_left:.1} 小时；请恢复连接或加大 spool.bytes_max"),
            format!("there is room for {hours_left:.1} h without a connection; restore it or enlarge spool.bytes_max"),
        ));
    }
    if spool.dropped > 0 {
        let count = spool.dropped;
        out.push(Trouble::new(
            "reports_dropped",
            "spool.bytes_max",
            format!("暂存已满或超期，启动以来丢弃了最旧的 {count} 份报告（已向平台申报）"),
            format!("{count} reports, the oldest, were dropped since the start because the spool was full or they were too old; the service is told"),
        ));
    }
    if spool.unreadable > 0 {
        let count = spool.unreadable;
        out.push(Trouble::new(
            "reports_unreadable",
            "spool.dir",
            format!("磁盘损坏，{count} 份报告无法读出（已向平台申报）；请检查磁盘"),
            format!("{count} reports cannot be read because the disk is damaged; the service is told; check the disk"),
        ));
    }
}

fn writing(status: &Status, out: &mut Vec<Trouble>) {
    let writing = &status.writing;
    if let Some(error) = &writing.error {
        out.push(Trouble::new(
            "spool_unwritable",
            "spool.dir",
            format!("报告写不进磁盘，读数暂留内存，停机或断电即失；请腾出空间或检查磁盘（{error}）"),
            format!("reports cannot be written to the disk ({error}); readings wait in memory, and end with the agent: free space, or check the disk"),
        ));
    }
    if writing.entries_dropped_total > 0 {
        let count = writing.entries_dropped_total;
        out.push(Trouble::new(
            "entries_dropped",
            "spool.dir",
            format!("磁盘写不进时内存已满，启动以来丢弃了最旧的 {count} 条读数（会向平台申报）"),
            format!("{count} entries, the oldest, were dropped since the start because memory was full while nothing could be written; the service is told"),
        ));
    }
}

fn usage(status: &Status, out: &mut Vec<Trouble>) {
    let usage = &status.usage;
    if let Some(error) = usage.places_unreadable.as_ref().filter(|_| !usage.logs.is_empty()) {
        out.push(Trouble::new(
            "usage_places_unreadable",
            "spool.dir",
            format!("日志读到何处的记录 usage-logs.json 读不出（{error}），为免重计或漏计，已停止读取日志；请检查磁盘，无法恢复时停止采集程序、移走该文件再启动，日志将如首次读取"),
            format!("usage-logs.json, which says up to where logs were read, is unreadable ({error}), so no log is read; check the disk; if it cannot be restored, stop the agent, move the file away and start it: logs are then read as if for the first time"),
        ));
    }
    if usage.logs_waiting > 0 {
        let count = usage.logs_waiting;
        out.push(Trouble::new(
            "usage_log_waits",
            "clock",
            format!("{count} 个日志的下一行时间晚于本机时钟，暂停读取（至多 24 小时）；请先校准本机时钟，并核对写日志的机器的时钟与 offset"),
            format!("{count} logs wait, at most 24 h, because their next line is later than this gateway's clock; set the clock, and look at the clock of what writes the log, and at offset"),
        ));
    }
    let future = usage.lines_total.get("future").copied().unwrap_or(0);
    if future > 0 {
        out.push(Trouble::new(
            "usage_lines_future",
            "usage.log",
            format!("{future} 行日志的时间晚于本机时钟，未计入；请核对写日志的机器的时钟、time_format 与 offset"),
            format!("{future} lines of logs are later than this gateway's clock and were not counted; look at the clock of what writes the log, time_format and offset"),
        ));
    }
    if usage.files_lost_total > 0 {
        let count = usage.files_lost_total;
        out.push(Trouble::new(
            "usage_files_lost",
            "usage.log",
            format!("{count} 个日志文件在读完之前已被压缩、截断或删除，其中的使用未计入；请让日志多保留几份、延后压缩"),
            format!("{count} log files were packed, cut or deleted before they were read to their end, and that usage was not counted; keep more of them, and pack them later"),
        ));
    }
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
