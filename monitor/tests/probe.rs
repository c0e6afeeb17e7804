//! The probe over fixture trees: both versions of control groups, both at once, and none.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use trimtab_config::{ByteSize, MemoryLimit, Share};
use trimtab_monitor::{LoadAverage, Probe, Stall, UsedSource};

const MIB: u64 = 1 << 20;

/// What every tree has: a process of 50 MiB on a machine of 4 GiB with two cores.
const PROC: &[(&str, &str)] = &[
    ("proc/self/stat", "7 (app (x)) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 5 0 10000 0 0 0 0 0\n"),
    ("proc/self/statm", "50000 12800 100 10 0 1000 0\n"),
    ("proc/self/status", "Name:\tapp\nCpus_allowed_list:\t0-1\n"),
    ("proc/self/fd/0", ""),
    ("proc/self/fd/1", ""),
    ("proc/self/fd/2", ""),
    ("proc/uptime", "400.00 700.00\n"),
    ("proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n"),
    ("proc/loadavg", "0.25 0.50 0.75 1/100 7\n"),
    ("proc/meminfo", "MemTotal:        4194304 kB\nMemFree:          100 kB\nMemAvailable:    2097152 kB\n"),
    (
        "proc/pressure/memory",
        "some avg10=5.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n",
    ),
    ("sys/devices/system/cpu/online", "0-1\n"),
];

/// Version 2: 1 GiB at the parent, none at the group itself, half a core.
const V2: &[(&str, &str)] = &[
    ("proc/self/cgroup", "0::/pod/app\n"),
    ("proc/self/mountinfo", "30 20 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
    ("sys/fs/cgroup/pod/memory.max", "1073741824\n"),
    ("sys/fs/cgroup/pod/memory.current", "943718400\n"),
    ("sys/fs/cgroup/pod/memory.stat", "anon 104857600\nfile 838860800\ninactive_file 629145600\n"),
    (
        "sys/fs/cgroup/pod/memory.pressure",
        "some avg10=50.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=20.00 avg60=0 avg300=0 total=1\n",
    ),
    ("sys/fs/cgroup/pod/app/memory.max", "max\n"),
    ("sys/fs/cgroup/pod/app/memory.current", "1048576\n"),
    ("sys/fs/cgroup/pod/app/memory.stat", "anon 1\ninactive_file 1\n"),
    ("sys/fs/cgroup/pod/app/cpu.max", "50000 100000\n"),
];

/// Version 1, whose "no limit" is a huge number.
const V1: &[(&str, &str)] = &[
    ("proc/self/cgroup", "4:memory:/app\n1:cpu,cpuacct:/app\n"),
    (
        "proc/self/mountinfo",
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
    ),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "536870912\n"),
    ("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "209715200\n"),
    (
        "sys/fs/cgroup/memory/app/memory.stat",
        "rss 1\ninactive_file 1\nhierarchical_memory_limit 536870912\ntotal_rss 199229440\ntotal_inactive_file 104857600\n",
    ),
    ("sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "-1\n"),
    ("sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n"),
];

fn put(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        fs::write(path, text).expect("written");
    }
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    put(root.path(), PROC);
    put(root.path(), files);
    root
}

#[test]
fn process_and_machine_are_read_whole() {
    let root = tree(&[]);
    let sample = Probe::with_root(root.path()).sample();
    assert_eq!(*sample.gaps, []);
    assert_eq!(sample.process.cpu_time.map(|time| time.as_secs_f64()), Some(2.0));
    assert_eq!(sample.process.rss, Some(50 * MIB));
    assert_eq!(sample.process.threads, Some(5));
    assert_eq!(sample.process.open_files, Some(3));
    assert_eq!(sample.uptime.as_secs(), 300);
    assert_eq!(sample.machine.load, Some(LoadAverage { one: 0.25, five: 0.5, fifteen: 0.75 }));
    assert_eq!(sample.machine.memory_total, Some(4096 * MIB));
    assert_eq!(sample.machine.memory_available, Some(2048 * MIB));
    assert!((sample.machine.cpus - 2.0).abs() < 1e-9);
}

#[test]
fn without_a_control_group_the_process_is_measured_against_the_machine() {
    let root = tree(&[]);
    let memory = Probe::with_root(root.path()).memory();
    assert_eq!((memory.used, memory.used_source), (Some(50 * MIB), UsedSource::Process));
    assert_eq!(memory.limit, Some(3072 * MIB));
    assert_eq!(memory.limit_source, "75% of 4GiB (/proc/meminfo)");
    assert_eq!(memory.stall, Some(Stall { some: 0.05, full: 0.01 }));
}

#[test]
fn version_2_measures_the_group_whose_limit_binds_without_its_cold_cache() {
    let root = tree(V2);
    let sample = Probe::with_root(root.path()).sample();
    assert_eq!(*sample.gaps, []);
    // 900 MiB charged, 600 MiB of it cold.
    assert_eq!((sample.memory.used, sample.memory.used_source), (Some(300 * MIB), UsedSource::Cgroup));
    assert_eq!(sample.memory.limit, Some(Share::percent(90).of(1024 * MIB)));
    assert_eq!(sample.memory.limit_source, "90% of 1GiB (/sys/fs/cgroup/pod/memory.max)");
    assert_eq!(sample.memory.stall, Some(Stall { some: 0.5, full: 0.2 }));
    assert!((sample.machine.cpus - 0.5).abs() < 1e-9);
}

#[test]
fn version_1_measures_the_group_and_never_less_than_its_anonymous_memory() {
    let root = tree(V1);
    let sample = Probe::with_root(root.path()).sample();
    assert_eq!(*sample.gaps, []);
    // 200 MiB charged, 100 MiB of it cold, but 190 MiB anonymous.
    assert_eq!((sample.memory.used, sample.memory.used_source), (Some(190 * MIB), UsedSource::Cgroup));
    assert_eq!(sample.memory.limit, Some(Share::percent(90).of(512 * MIB)));
    // Version 1 has no stalls of its own: the machine's.
    assert_eq!(sample.memory.stall, Some(Stall { some: 0.05, full: 0.01 }));
    assert!((sample.machine.cpus - 2.0).abs() < 1e-9);
}

#[test]
fn on_a_hybrid_machine_the_controller_counts_where_it_lives() {
    let root = tree(V1);
    put(
        root.path(),
        &[
            ("proc/self/cgroup", "4:memory:/app\n0::/\n"),
            (
                "proc/self/mountinfo",
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/unified/cgroup.controllers", "\n"),
        ],
    );
    let memory = Probe::with_root(root.path()).memory();
    assert_eq!((memory.used, memory.used_source), (Some(190 * MIB), UsedSource::Cgroup));
}

#[test]
fn a_limit_that_was_set_is_one_of_the_process() {
    let root = tree(V2);
    let mut probe = Probe::with_root(root.path()).memory_limit(MemoryLimit::Bytes(ByteSize::mib(100)));
    let memory = probe.memory();
    assert_eq!((memory.used, memory.used_source, memory.limit), (Some(50 * MIB), UsedSource::Process, Some(100 * MIB)));
    assert_eq!(memory.share, Some(0.5));
    probe.set_memory_limit(MemoryLimit::Share(Share::percent(50)));
    let memory = probe.memory();
    assert_eq!((memory.used_source, memory.limit), (UsedSource::Cgroup, Some(512 * MIB)));
}

#[test]
fn kept_descriptors_see_every_change() {
    let root = tree(V2);
    let mut probe = Probe::with_root(root.path());
    assert_eq!(probe.memory().used, Some(300 * MIB));
    put(root.path(), &[("sys/fs/cgroup/pod/memory.current", "1048576000\n")]);
    assert_eq!(probe.memory().used, Some(400 * MIB));
    // A group that goes away is a gap and the process instead, not an end of the sampling.
    fs::remove_file(root.path().join("sys/fs/cgroup/pod/memory.stat")).expect("removed");
    fs::write(root.path().join("sys/fs/cgroup/pod/memory.current"), "").expect("emptied");
    let sample = probe.sample();
    assert_eq!((sample.memory.used, sample.memory.used_source), (Some(50 * MIB), UsedSource::Process));
    assert_eq!(sample.gaps[0].value, "memory.used");
    assert!(sample.gaps[0].reason.contains("memory.current"), "{}", sample.gaps[0].reason);
}

#[test]
fn one_missing_file_costs_only_its_own_values() {
    for (path, value) in [
        ("proc/self/stat", "process.cpu_time"),
        ("proc/self/statm", "process.rss"),
        ("proc/stat", "machine.cpu_share"),
        ("proc/loadavg", "machine.load"),
        ("proc/meminfo", "machine.memory_total"),
        ("proc/pressure/memory", "memory.stall"),
    ] {
        let root = tree(&[]);
        fs::remove_file(root.path().join(path)).expect("was there");
        let sample = Probe::with_root(root.path()).sample();
        let gap = sample.gaps.iter().find(|gap| gap.value == value);
        assert!(gap.is_some_and(|gap| gap.reason.contains(path)), "{path}: {:?}", sample.gaps);
        let others = sample.gaps.iter().filter(|gap| !gap.reason.contains(path)).count();
        assert_eq!(others, 0, "{path}: {:?}", sample.gaps);
    }
}

#[test]
fn garbage_everywhere_is_gaps_everywhere() {
    let root = tree(V2);
    for file in
        ["proc/self/stat", "proc/self/statm", "proc/stat", "proc/loadavg", "proc/meminfo", "proc/pressure/memory"]
    {
        fs::write(root.path().join(file), [0xff, 0x00, b'x', b'\n']).expect("written");
    }
    for file in ["memory.max", "memory.current", "memory.stat", "memory.pressure"] {
        fs::write(root.path().join("sys/fs/cgroup/pod").join(file), "-1 many\n").expect("written");
    }
    let sample = Probe::with_root(root.path()).sample();
    assert_eq!(
        (sample.process.rss, sample.memory.used, sample.memory.limit, sample.memory.stall),
        (None, None, None, None)
    );
    assert!(sample.gaps.len() >= 7, "{:?}", sample.gaps);
}

#[cfg(target_os = "linux")]
#[test]
fn this_machine_gives_a_sample_without_the_usual_gaps() {
    let sample = Probe::new().sample();
    let process = &sample.process;
    assert!(process.rss.is_some_and(|rss| rss > MIB / 4 && rss < 100_000 * MIB), "{process:?}");
    assert!(process.threads.is_some_and(|threads| threads >= 1));
    assert!(process.open_files.is_some_and(|files| files >= 3));
    assert!(process.cpu_time.is_some());
    assert!(sample.machine.memory_total > sample.machine.memory_available);
    assert!(sample.memory.used.is_some() && sample.memory.limit.is_some());
}
