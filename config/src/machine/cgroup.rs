//! The control groups around this process: where they are, what they allow, what is used.
//!
//! Linux has two generations, often side by side. Version 1 mounts one tree per controller (`/sys/fs/cgroup/memory`), version 2
//! one tree for all; a *hybrid* machine has both, and each controller lives in exactly one of them. `/proc/self/cgroup` names the
//! group, `/proc/self/mountinfo` where its tree is mounted and which part of it (a container often sees its own group as the
//! mount's root, under a name that does not exist inside). A limit holds for all groups below it, so the smallest on the way up
//! counts.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v1/memory.rst`, `cgroup-v2.rst`, `proc_pid_mountinfo(5)`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Measured;
use super::files::{count_cpu_list, find_number, read_number, read_text};
use crate::ByteSize;

/// Version 1 says "no limit" as the largest multiple of the page size below 2⁶³; no real limit comes near.
const UNLIMITED: u64 = 1 << 60;

/// Which generations of control groups a process lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// None is visible.
    #[default]
    None,
    /// One tree per controller.
    V1,
    /// One tree for all controllers.
    V2,
    /// Both: some controllers in trees of their own.
    Hybrid,
}

/// The memory that a group uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryUsage {
    /// All memory charged to the group, page cache included.
    pub current: ByteSize,
    /// Page cache that has not been touched for long: the kernel takes it back first.
    pub inactive_file: ByteSize,
    /// Memory that only swapping could take back.
    pub anon: ByteSize,
}

impl MemoryUsage {
    /// What counts towards the limit in practice: everything but cold page cache, and never less than the anonymous memory.
    pub fn working_set(&self) -> ByteSize {
        let warm = self.current.as_u64().saturating_sub(self.inactive_file.as_u64());
        ByteSize::b(warm.max(self.anon.as_u64()))
    }
}

/// The files that tell a group's memory, for a reader that keeps them open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFiles {
    /// Holds one number: bytes charged.
    pub current: PathBuf,
    /// Holds `key number` lines.
    pub stat: PathBuf,
    /// The key of cold page cache in `stat`.
    pub inactive_file: &'static str,
    /// The key of anonymous memory in `stat`.
    pub anon: &'static str,
}

/// One controller's tree, from the process's group up to the mount.
#[derive(Clone, Debug)]
struct Tree {
    version: CgroupVersion,
    /// The group's folder first, the mount point last.
    folders: Vec<PathBuf>,
}

/// Locates the control groups of this process and reads them.
///
/// Locating parses two files; keep the value and call its readers again for fresh figures. A process that is moved to another
/// group, which is rare, needs a new one.
///
/// ```
/// use trimtab_config::Cgroup;
///
/// let cgroup = Cgroup::detect();
/// match cgroup.memory_limit() {
///     Some(limit) => println!("at most {} ({})", limit.value, limit.source),
///     None => println!("no limit"),
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cgroup {
    root: PathBuf,
    version: CgroupVersion,
    memory: Option<Tree>,
    cpu: Option<Tree>,
    cpuset: Option<Tree>,
}

impl Cgroup {
    /// Locates the groups of this process.
    pub fn detect() -> Self {
        Self::locate(Path::new("/"))
    }

    /// Locates them below `root`, which holds `proc` and `sys`.
    pub fn locate(root: &Path) -> Self {
        let groups = parse_groups(&read_text(&root.join("proc/self/cgroup")).unwrap_or_default());
        let mut mounts = parse_mounts(&read_text(&root.join("proc/self/mountinfo")).unwrap_or_default());
        if mounts.is_empty() {
            mounts = usual_mounts(root);
        }
        let find = |controller: &str| find_tree(root, controller, &groups, &mounts);
        let [memory, cpu, cpuset] = ["memory", "cpu", "cpuset"].map(find);
        let v1 =
            groups.iter().any(|group| group.controllers.is_some()) && mounts.iter().any(|m| m.controllers.is_some());
        let v2 =
            groups.iter().any(|group| group.controllers.is_none()) && mounts.iter().any(|m| m.controllers.is_none());
        let version = match (v1, v2) {
            (false, false) => CgroupVersion::None,
            (true, false) => CgroupVersion::V1,
            (false, true) => CgroupVersion::V2,
            (true, true) => CgroupVersion::Hybrid,
        };
        Self { root: root.to_owned(), version, memory, cpu, cpuset }
    }

    /// Which generations are in use.
    pub fn version(&self) -> CgroupVersion {
        self.version
    }

    /// The smallest memory limit from this process's group upwards; `None` when no group limits it.
    ///
    /// In version 2 both `memory.max` (killed above) and `memory.high` (slowed down above) count.
    pub fn memory_limit(&self) -> Option<Measured<ByteSize>> {
        self.binding_memory().map(|(_, limit)| limit)
    }

    /// The memory used by the group whose limit binds, or by this process's own group where none does.
    ///
    /// A limit on a parent is shared by all its children, so the parent's use is what comes up against it.
    pub fn memory_usage(&self) -> Option<MemoryUsage> {
        let files = self.memory_files()?;
        let stat = read_text(&files.stat).unwrap_or_default();
        let bytes = |key| ByteSize::b(find_number(&stat, key).unwrap_or(0));
        Some(MemoryUsage {
            current: ByteSize::b(read_number(&files.current)?),
            inactive_file: bytes(files.inactive_file),
            anon: bytes(files.anon),
        })
    }

    /// The files behind [`memory_usage`](Self::memory_usage), for a reader that keeps them open.
    pub fn memory_files(&self) -> Option<MemoryFiles> {
        let tree = self.memory.as_ref()?;
        let folder = self.binding_memory().map_or(tree.folders.first()?, |(folder, _)| folder);
        let v1 = tree.version == CgroupVersion::V1;
        let pick = |one, two| if v1 { one } else { two };
        Some(MemoryFiles {
            current: folder.join(pick("memory.usage_in_bytes", "memory.current")),
            stat: folder.join("memory.stat"),
            inactive_file: pick("total_inactive_file", "inactive_file"),
            anon: pick("total_rss", "anon"),
        })
    }

    /// The folder of this process's own memory group.
    pub fn memory_folder(&self) -> Option<&Path> {
        self.memory.as_ref()?.folders.first().map(PathBuf::as_path)
    }

    /// Processors' worth of time per period: 1.5 means 150 ms in each 100 ms. `None` without a quota.
    pub fn cpu_quota(&self) -> Option<Measured<f64>> {
        let tree = self.cpu.as_ref()?;
        let quotas = tree.folders.iter().filter_map(|folder| {
            let (file, quota, period) = if tree.version == CgroupVersion::V1 {
                let file = folder.join("cpu.cfs_quota_us");
                let quota = read_number(&file)?; // -1 is no limit, and no u64
                (file, quota, read_number(&folder.join("cpu.cfs_period_us"))?)
            } else {
                let file = folder.join("cpu.max");
                let text = read_text(&file)?;
                let mut words = text.split_whitespace();
                let quota = words.next()?.parse().ok()?; // "max" is no number
                (file, quota, words.next().map_or(Some(100_000), |word| word.parse().ok())?)
            };
            (quota > 0 && period > 0).then(|| Measured::new(quota as f64 / period as f64, self.show(&file)))
        });
        quotas.min_by(|a, b| a.value.total_cmp(&b.value))
    }

    /// How many processors the group is pinned to; `None` when it is not.
    pub fn cpu_set(&self) -> Option<Measured<usize>> {
        let tree = self.cpuset.as_ref()?;
        let names: &[&str] = match tree.version {
            CgroupVersion::V1 => &["cpuset.effective_cpus", "cpuset.cpus"],
            _ => &["cpuset.cpus.effective", "cpuset.cpus"],
        };
        // The kernel computes the effective set from all ancestors; the nearest answer is the smallest.
        tree.folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))).find_map(|file| {
            let count = count_cpu_list(&read_text(&file)?)?;
            Some(Measured::new(count, self.show(&file)))
        })
    }

    /// The group whose limit is smallest, with that limit.
    fn binding_memory(&self) -> Option<(&PathBuf, Measured<ByteSize>)> {
        let tree = self.memory.as_ref()?;
        let names: &[&str] =
            if tree.version == CgroupVersion::V1 { &["memory.limit_in_bytes"] } else { &["memory.max", "memory.high"] };
        let explicit = tree.folders.iter().flat_map(|folder| names.iter().map(move |name| (folder, folder.join(name))));
        let explicit = explicit.filter_map(|(folder, file)| Some((folder, read_number(&file)?, file)));
        // Version 1 also tells the smallest limit above what a container can see.
        let hidden = tree.folders.first().filter(|_| tree.version == CgroupVersion::V1).and_then(|folder| {
            let file = folder.join("memory.stat");
            Some((folder, find_number(&read_text(&file)?, "hierarchical_memory_limit")?, file))
        });
        explicit
            .chain(hidden)
            .filter(|(_, bytes, _)| (1..UNLIMITED).contains(bytes))
            .min_by_key(|(_, bytes, _)| *bytes)
            .map(|(folder, bytes, file)| (folder, Measured::new(ByteSize::b(bytes), self.show(&file))))
    }

    /// The path as the process would name it, without the root of a fixture tree.
    fn show(&self, file: &Path) -> String {
        Path::new("/").join(file.strip_prefix(&self.root).unwrap_or(file)).display().to_string()
    }
}

/// One line of `/proc/self/cgroup`: `hierarchy:controllers:path`; version 2 has no controllers.
struct Group {
    controllers: Option<Vec<String>>,
    path: String,
}

fn parse_groups(text: &str) -> Vec<Group> {
    let parse = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if !path.starts_with('/') {
            return None;
        }
        let controllers = (hierarchy != "0").then(|| controllers.split(',').map(str::to_owned).collect());
        Some(Group { controllers, path: path.to_owned() })
    };
    text.lines().filter_map(parse).collect()
}

/// One mounted tree: which part of the hierarchy (`root`) is visible where (`point`).
struct Mount {
    controllers: Option<Vec<String>>,
    root: String,
    point: String,
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (unescape(left.next()?), unescape(left.next()?));
        let mut right = right.split(' ');
        let controllers = match right.next()? {
            "cgroup2" => None,
            "cgroup" => Some(right.nth(1)?.split(',').map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Mount { controllers, root, point })
    };
    text.lines().filter_map(parse).collect()
}

/// `mountinfo` writes blanks in paths as `\040` and the like.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Where systemd and container runtimes put the trees, for sandboxes that hide `mountinfo`.
fn usual_mounts(root: &Path) -> Vec<Mount> {
    let base = root.join("sys/fs/cgroup");
    let mount = |controllers, point: &str| Mount { controllers, root: "/".into(), point: point.into() };
    let mut mounts = Vec::new();
    if base.join("cgroup.controllers").is_file() {
        mounts.push(mount(None, "/sys/fs/cgroup"));
    }
    for controller in ["memory", "cpu", "cpuset"] {
        if base.join(controller).is_dir() {
            mounts.push(mount(Some(vec![controller.to_owned()]), &format!("/sys/fs/cgroup/{controller}")));
        }
    }
    mounts
}

/// A controller lives in its version 1 tree if it has one, else in the version 2 tree.
fn find_tree(root: &Path, controller: &str, groups: &[Group], mounts: &[Mount]) -> Option<Tree> {
    let owns =
        |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| list.iter().any(|name| name == controller));
    let v1 = groups.iter().find(|g| owns(&g.controllers)).zip(mounts.iter().find(|m| owns(&m.controllers)));
    let v2 = || groups.iter().find(|g| g.controllers.is_none()).zip(mounts.iter().find(|m| m.controllers.is_none()));
    let (version, (group, mount)) = match v1 {
        Some(found) => (CgroupVersion::V1, found),
        None => (CgroupVersion::V2, v2()?),
    };
    let point = root.join(mount.point.trim_start_matches('/'));
    Some(Tree { version, folders: folders(&point, &mount.root, &group.path) })
}

/// The group's folder and its ancestors up to the mount point.
fn folders(point: &Path, mount_root: &str, group: &str) -> Vec<PathBuf> {
    let below = |group: &str, top: &str| {
        let rest = group.strip_prefix(top.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
    };
    // Neither the host's name of the group nor a path out of the mount (`/../..`) exists inside a container: then the mount
    // point itself is the nearest group to be seen.
    let visible = |relative: String| {
        let safe = !Path::new(&relative).components().any(|part| part == std::path::Component::ParentDir);
        Some(relative).filter(|relative| safe && point.join(relative).is_dir())
    };
    let relative =
        below(group, mount_root).and_then(visible).or_else(|| below(group, "/").and_then(visible)).unwrap_or_default();
    let folder = point.join(&relative);
    let mut folders: Vec<PathBuf> =
        folder.ancestors().take_while(|f| f.starts_with(point)).map(Path::to_owned).collect();
    if folders.is_empty() {
        folders.push(point.to_owned());
    }
    folders
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "quotients of small whole numbers are exact")]
mod tests;
