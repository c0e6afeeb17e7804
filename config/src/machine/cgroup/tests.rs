//! Fixture trees as real systems lay them out: systemd on v2, Docker with and without a namespace, v1, hybrid, sandboxes, garbage.

use std::fs;

use super::*;
use crate::Machine;

const V2_MOUNT: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
    34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
    35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn limit(files: &[(&str, &str)]) -> Option<(u64, String)> {
    let root = tree(files);
    Cgroup::locate(root.path()).memory_limit().map(|limit| (limit.value.as_u64(), limit.source))
}

#[test]
fn version_2_takes_the_smallest_limit_up_the_tree() {
    let base = "sys/fs/cgroup";
    let root = tree(&[
        ("proc/self/cgroup", "0::/system.slice/app.service/worker\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        (&format!("{base}/system.slice/app.service/worker/memory.max"), "max\n"),
        (&format!("{base}/system.slice/app.service/worker/memory.current"), "1000\n"),
        (&format!("{base}/system.slice/app.service/memory.max"), "500000\n"),
        (&format!("{base}/system.slice/app.service/memory.current"), "400000\n"),
        (&format!("{base}/system.slice/app.service/memory.stat"), "anon 100000\nfile 300000\ninactive_file 250000\n"),
        (&format!("{base}/system.slice/memory.max"), "900000\n"),
        (&format!("{base}/system.slice/app.service/worker/cpu.max"), "max 100000\n"),
        (&format!("{base}/system.slice/app.service/cpu.max"), "150000 100000\n"),
        (&format!("{base}/system.slice/cpu.max"), "400000 100000\n"),
        (&format!("{base}/system.slice/app.service/worker/cpuset.cpus.effective"), "0-2\n"),
    ]);
    let cgroup = Cgroup::locate(root.path());
    assert_eq!(cgroup.version(), CgroupVersion::V2);
    let limit = Measured::new(ByteSize::b(500_000), "/sys/fs/cgroup/system.slice/app.service/memory.max");
    assert_eq!(cgroup.memory_limit(), Some(limit));
    assert_eq!(cgroup.cpu_quota().map(|quota| quota.value), Some(1.5));
    assert_eq!(cgroup.cpu_set().map(|set| set.value), Some(3));
    // The use of the group whose limit binds, not of the worker alone.
    let usage = cgroup.memory_usage().unwrap();
    assert_eq!((usage.current, usage.working_set()), (ByteSize::b(400_000), ByteSize::b(150_000)));
    assert_eq!(
        Machine::read(root.path()).cpus.value,
        1.0,
        "the machine itself is unknown, so one processor is the most"
    );
}

#[test]
fn memory_high_counts_as_a_limit() {
    let files = [
        ("proc/self/cgroup", "0::/a\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/a/memory.max", "900\n"),
        ("sys/fs/cgroup/a/memory.high", "800\n"),
    ];
    assert_eq!(limit(&files), Some((800, "/sys/fs/cgroup/a/memory.high".into())));
}

#[test]
fn version_1_knows_unlimited_by_its_size() {
    let files = |own: &'static str, parent: &'static str| {
        [
            ("proc/self/cgroup", "9:memory:/outer/inner\n4:cpu,cpuacct:/outer\n3:cpuset:/\n"),
            ("proc/self/mountinfo", V1_MOUNTS),
            ("sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", own),
            ("sys/fs/cgroup/memory/outer/inner/memory.usage_in_bytes", "7000\n"),
            (
                "sys/fs/cgroup/memory/outer/inner/memory.stat",
                "rss 1\ninactive_file 2\ntotal_rss 3000\ntotal_inactive_file 5000\n",
            ),
            ("sys/fs/cgroup/memory/outer/memory.limit_in_bytes", parent),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu,cpuacct/outer/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/outer/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpuset/cpuset.cpus", "0-3,8\n"),
        ]
    };
    assert_eq!(limit(&files("9223372036854771712\n", "9223372036854771712\n")), None);
    let (bytes, source) = limit(&files("9223372036854771712\n", "65536\n")).unwrap();
    assert_eq!((bytes, source.as_str()), (65536, "/sys/fs/cgroup/memory/outer/memory.limit_in_bytes"));

    let root = tree(&files("10000\n", "65536\n"));
    let cgroup = Cgroup::locate(root.path());
    assert_eq!(cgroup.version(), CgroupVersion::V1);
    assert_eq!(cgroup.memory_limit().unwrap().value, ByteSize::b(10_000));
    assert_eq!(cgroup.cpu_quota().unwrap().value, 0.5);
    assert_eq!(cgroup.cpu_set().unwrap().value, 5);
    // 7000 - 5000 would be less than what only swapping could free.
    assert_eq!(cgroup.memory_usage().unwrap().working_set(), ByteSize::b(3000));
}

#[test]
fn version_1_tells_limits_above_what_a_container_sees() {
    let files = [
        ("proc/self/cgroup", "9:memory:/docker/abc\n"),
        // Without a namespace the mount shows the container's own part, under the host's name.
        ("proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/memory.stat", "cache 0\nhierarchical_memory_limit 4096\n"),
    ];
    assert_eq!(limit(&files), Some((4096, "/sys/fs/cgroup/memory/memory.stat".into())));
}

#[test]
fn a_hybrid_machine_has_each_controller_in_one_tree() {
    let mounts = format!("{V1_MOUNTS}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    let files = [
        ("proc/self/cgroup", "4:memory:/job\n1:name=systemd:/\n0::/job\n"),
        ("proc/self/mountinfo", &mounts),
        ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2048\n"),
        // A trap: the version 2 tree has no memory controller here, whatever lies in it.
        ("sys/fs/cgroup/unified/job/memory.max", "1\n"),
        ("sys/fs/cgroup/unified/job/cpu.max", "200000 100000\n"),
    ];
    assert_eq!(limit(&files), Some((2048, "/sys/fs/cgroup/memory/job/memory.limit_in_bytes".into())));
    let root = tree(&files);
    let cgroup = Cgroup::locate(root.path());
    assert_eq!(cgroup.version(), CgroupVersion::Hybrid);
    assert_eq!(cgroup.cpu_quota().unwrap().value, 2.0);
    assert_eq!(cgroup.memory_folder().unwrap(), root.path().join("sys/fs/cgroup/memory/job"));
}

#[test]
fn a_path_that_is_not_visible_falls_back_to_the_mount() {
    for path in ["/kubepods/pod1/abc", "/../../outside", "/"] {
        let group = format!("0::{path}\n");
        let files = [
            ("proc/self/cgroup", group.as_str()),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/memory.max", "12345\n"),
            ("outside/memory.max", "1\n"),
        ];
        assert_eq!(limit(&files), Some((12345, "/sys/fs/cgroup/memory.max".into())), "{path}");
    }
}

#[test]
fn a_container_within_a_container_reads_below_its_mount_root() {
    let files = [
        ("proc/self/cgroup", "0::/docker/outer/inner\n"),
        ("proc/self/mountinfo", "30 24 0:26 /docker/outer /mnt/c\\040g rw - cgroup2 cgroup2 rw\n"),
        ("mnt/c g/inner/memory.max", "777\n"),
        ("mnt/c g/memory.max", "888\n"),
    ];
    assert_eq!(limit(&files), Some((777, "/mnt/c g/inner/memory.max".into())));
}

#[test]
fn hidden_mountinfo_falls_back_to_the_usual_places() {
    let v2 = [
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cgroup.controllers", "memory\n"),
        ("sys/fs/cgroup/memory.max", "99\n"),
    ];
    assert_eq!(limit(&v2).unwrap().0, 99);
    let v1 = [("proc/self/cgroup", "2:memory:/\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "98\n")];
    assert_eq!(limit(&v1).unwrap().0, 98);
}

#[test]
fn garbage_and_zero_are_no_limits() {
    for text in ["", "\n", "max", "-1", "0", "12 34", "1e9", "99999999999999999999999", "\u{0}"] {
        let files = [
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/a/memory.max", text),
            ("sys/fs/cgroup/a/memory.current", text),
            ("sys/fs/cgroup/a/cpu.max", text),
            ("sys/fs/cgroup/a/cpuset.cpus.effective", text),
        ];
        let root = tree(&files);
        let cgroup = Cgroup::locate(root.path());
        assert_eq!(cgroup.memory_limit(), None, "{text:?}");
        assert_eq!(cgroup.cpu_set().filter(|_| text != "0"), None, "{text:?}");
        assert!(cgroup.cpu_quota().is_none_or(|quota| quota.value > 0.0), "{text:?}");
    }
    assert_eq!(Cgroup::locate(tree(&[]).path()).memory_usage(), None);
}

#[test]
fn this_machine_is_located() {
    let cgroup = Cgroup::detect();
    if let Some(usage) = cgroup.memory_usage() {
        assert!(usage.working_set() <= usage.current.max(usage.anon));
    }
    if cfg!(target_os = "linux") && Path::new("/proc/self/cgroup").exists() {
        assert_eq!(
            cgroup.version() == CgroupVersion::None,
            cgroup.memory_folder().is_none() && cgroup.cpu.is_none() && cgroup.cpuset.is_none()
        );
    }
}
