//! What the kernel says of a process.

use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc`: `USER_HZ` is 100 on every Linux that people run.
const TICKS: u64 = 100;

pub(crate) struct Process(pub(crate) u32);

pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Bytes resident now.
    pub(crate) resident: u64,
    /// Bytes resident at most.
    pub(crate) resident_peak: u64,
    /// Bytes that went to the block device.
    pub(crate) written: u64,
}

impl Process {
    pub(crate) fn usage(&self) -> Usage {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.0)).unwrap();
        let (status, io, stat) = (read("status"), read("io"), read("stat"));
        // Fields 14 and 15, counted from behind the name in brackets: proc_pid_stat(5).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Usage {
            cpu: Duration::from_millis(ticks * 1000 / TICKS),
            resident: number(&status, "VmRSS:") * 1024,
            resident_peak: number(&status, "VmHWM:") * 1024,
            written: number(&io, "write_bytes:"),
        }
    }
}

fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    format!("{cores} × {}, Linux {}", model.unwrap_or("unknown"), kernel.trim())
}
