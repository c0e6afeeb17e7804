//! Settings that change while the program runs: patches, reloads, subscribers, and files replaced in every usual way.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trimtab_config::{Live, Loader, Origin, Problems, Profile, Settings, WatchError, WatchOptions};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct App {
    workers: u8,
    ceiling: u8,
    bind: String,
    note: Option<String>,
}

impl Default for App {
    fn default() -> Self {
        Self { workers: 2, ceiling: 10, bind: "127.0.0.1".into(), note: None }
    }
}

impl Settings for App {
    fn for_profile(_: Profile) -> Self {
        Self::default()
    }

    fn check(&self, problems: &mut Problems) {
        if self.workers > self.ceiling {
            problems.report("workers", self.workers, format!("must be at most the ceiling, {}", self.ceiling));
        }
    }

    fn restart_only() -> &'static [&'static str] {
        &["bind"]
    }
}

fn loader() -> Loader<App> {
    Loader::new().no_file().variables::<&str, &str>([])
}

fn live() -> Live<App> {
    Live::start(loader()).unwrap()
}

#[test]
fn a_patch_is_applied_whole_and_tells_what_changed() {
    let live = live();
    let changes = live.patch(json!({ "workers": 5, "bind": "0.0.0.0", "ceiling": 10 })).unwrap();
    assert_eq!(changes.to_string(), "bind: \"127.0.0.1\" -> \"0.0.0.0\" (after a restart)\nworkers: 2 -> 5");
    assert!(changes.needs_restart() && changes.touches("bind") && !changes.touches("ceiling"));
    assert_eq!(live.loaded().origin("workers"), Some(Origin::Patch));
    live.patch(json!({ "note": "x" })).unwrap();
    live.patch(json!({ "note": null })).unwrap();
    assert_eq!((live.current().workers, live.current().note.as_deref()), (5, None));
    assert_eq!(live.patches(), json!({ "workers": 5, "bind": "0.0.0.0", "ceiling": 10, "note": null }));
}

#[test]
fn a_wrong_patch_changes_nothing_and_tells_every_problem() {
    let live = live();
    let refused = live.patch(json!({ "workers": 300, "celing": 3, "note": 1, "bind": "x" })).unwrap_err();
    assert_eq!(refused.problems().len(), 3, "{refused}");
    assert!(
        refused.to_string().contains("run-time patch: celing: unknown setting; did you mean `ceiling`?"),
        "{refused}"
    );
    let refused = live.patch(json!({ "workers": 11, "bind": "x" })).unwrap_err();
    assert!(refused.to_string().contains("must be at most the ceiling, 10"), "{refused}");
    assert!(live.patch(json!([1])).unwrap_err().to_string().contains("must be a table"));
    assert_eq!(*live.current(), App::default());
    assert_eq!(live.patches(), json!({}));
}

#[test]
fn a_patch_can_be_taken_back() {
    let live = live();
    live.patch(json!({ "workers": 5, "ceiling": 6 })).unwrap();
    assert!(live.reset("note").unwrap_err().to_string().contains("no patch has set this"));
    assert_eq!(live.reset("workers").unwrap().to_string(), "workers: 5 -> 2");
    assert_eq!(live.reset("").unwrap().to_string(), "ceiling: 6 -> 10");
    assert_eq!(*live.current(), App::default());
}

#[test]
fn subscribers_are_told_in_order_and_may_patch() {
    let live = live();
    let (sender, told) = mpsc::channel();
    let again = live.clone();
    let first = live.on_change(move |change| {
        if change.new.workers == 3 {
            // Delivered after this change has been told to everyone.
            again.patch(json!({ "workers": 4 })).unwrap();
        }
    });
    let second = live.on_change(move |change| sender.send((change.old.workers, change.new.workers)).unwrap());
    live.patch(json!({ "workers": 3 })).unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [(2, 3), (3, 4)]);
    drop((first, second));
    live.patch(json!({ "workers": 5 })).unwrap();
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn a_panicking_subscriber_hurts_nobody_else() {
    let live = live();
    let count = Arc::new(AtomicUsize::new(0));
    live.on_change(|_| panic!("a subscriber gives up")).forever();
    let counter = count.clone();
    live.on_change(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    })
    .forever();
    live.patch(json!({ "workers": 3 })).unwrap();
    live.patch(json!({ "workers": 4 })).unwrap();
    assert_eq!((count.load(Ordering::Relaxed), live.current().workers), (2, 4));
}

#[test]
fn nobody_is_told_when_nothing_changed() {
    let live = live();
    live.on_change(|change| panic!("{} did not change", change.changes)).forever();
    assert!(live.patch(json!({ "workers": 2 })).unwrap().is_empty());
    assert!(live.reload().unwrap().is_empty());
}

#[test]
fn a_file_broken_on_disk_does_not_stop_patches() {
    let (folder, live) = with_file("workers = 3\n");
    fs::write(folder.path().join("trimtab.toml"), "workers = \n").unwrap();
    live.patch(json!({ "ceiling": 9 })).unwrap();
    assert_eq!((live.current().workers, live.current().ceiling), (3, 9));
    assert!(live.reload().is_err());
    assert!(live.last_error().is_some());
    fs::remove_file(folder.path().join("trimtab.toml")).unwrap();
    assert!(live.reload().unwrap_err().to_string().contains("does not exist"));
    assert_eq!(live.current().workers, 3);
    fs::write(folder.path().join("trimtab.toml"), "workers = 4\n").unwrap();
    live.reload().unwrap();
    assert!(live.last_error().is_none());
    assert_eq!((live.current().workers, live.current().ceiling), (4, 9));
}

#[test]
fn readers_never_see_a_mixture() {
    let live = live();
    std::thread::scope(|scope| {
        let reader = live.clone();
        let done = Arc::new(AtomicUsize::new(0));
        let stop = done.clone();
        scope.spawn(move || {
            while stop.load(Ordering::Relaxed) == 0 {
                let app = reader.current();
                assert_eq!(app.workers, app.ceiling - 8);
            }
        });
        for step in 0..50 {
            live.patch(json!({ "workers": 2 + step, "ceiling": 10 + step })).unwrap();
        }
        done.store(1, Ordering::Relaxed);
    });
}

// ---- following a file ----

fn with_file(text: &str) -> (tempfile::TempDir, Live<App>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trimtab.toml");
    fs::write(&path, text).unwrap();
    let live = Live::start(loader().file(path)).unwrap();
    (folder, live)
}

/// A long poll, so that only notices can explain a quick change.
const NOTICED: WatchOptions =
    WatchOptions { debounce: Duration::from_millis(10), poll: Duration::from_secs(600), notices: true };

/// Waits for what the follower tells; the limit is for a machine under load, not for the follower.
fn next<T>(told: &mpsc::Receiver<T>) -> T {
    told.recv_timeout(Duration::from_secs(30)).expect("the follower tells of a change")
}

fn follow(live: &Live<App>, options: WatchOptions) -> mpsc::Receiver<u8> {
    let (sender, told) = mpsc::channel();
    live.on_change(move |change| {
        let _ = sender.send(change.new.workers);
    })
    .forever();
    live.watch_with(options).unwrap();
    told
}

#[test]
fn a_file_written_in_place_or_renamed_over_is_noticed() {
    let (folder, live) = with_file("workers = 3\n");
    let told = follow(&live, NOTICED);
    let path = folder.path().join("trimtab.toml");
    fs::write(&path, "workers = 4\n").unwrap();
    assert_eq!(next(&told), 4);
    for workers in [5, 6] {
        let temporary = folder.path().join("new");
        fs::write(&temporary, format!("workers = {workers}\n")).unwrap();
        fs::rename(&temporary, &path).unwrap();
        assert_eq!(next(&told), workers);
    }
}

#[cfg(unix)]
#[test]
fn a_swapped_symbolic_link_is_noticed() {
    use std::os::unix::fs::symlink;
    // As Kubernetes lays out a mounted ConfigMap.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let version = |name: &str, workers: u8| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("trimtab.toml"), format!("workers = {workers}\n")).unwrap();
    };
    let swap = |name: &str| {
        symlink(name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    version("..1", 3);
    swap("..1");
    symlink(Path::new("..data").join("trimtab.toml"), root.join("trimtab.toml")).unwrap();
    let live = Live::start(loader().file(root.join("trimtab.toml"))).unwrap();
    assert_eq!(live.current().workers, 3);
    let told = follow(&live, NOTICED);
    for (name, workers, before) in [("..2", 4, "..1"), ("..3", 5, "..2")] {
        version(name, workers);
        swap(name);
        assert_eq!(next(&told), workers);
        fs::remove_dir_all(root.join(before)).unwrap();
    }
}

#[test]
fn a_wrong_file_is_told_and_the_old_settings_stay() {
    let (folder, live) = with_file("workers = 3\n");
    let (sender, failures) = mpsc::channel();
    live.on_failure(move |invalid| {
        let _ = sender.send(invalid.to_string());
    })
    .forever();
    let told = follow(&live, NOTICED);
    let path = folder.path().join("trimtab.toml");
    fs::write(&path, "workers = 300\nceling = 1\n").unwrap();
    // Writing is two steps; an empty file in between is a sound one, and workers fall back to 2.
    let failure = next(&failures);
    assert!(failure.contains("workers = 300") && failure.contains("did you mean `ceiling`?"), "{failure}");
    assert!(live.last_error().is_some());
    assert_ne!(live.current().ceiling, 1);
    fs::write(&path, "workers = 7\n").unwrap();
    while next(&told) != 7 {}
    assert_eq!(live.current().workers, 7);
}

#[test]
fn polling_alone_finds_a_change_too() {
    let (folder, live) = with_file("workers = 3\n");
    let told = follow(&live, WatchOptions { poll: Duration::from_millis(20), notices: false, ..NOTICED });
    fs::write(folder.path().join("trimtab.toml"), "workers = 9\n").unwrap();
    while next(&told) != 9 {}
}

#[test]
fn a_change_between_load_and_watch_is_not_lost() {
    let (folder, live) = with_file("workers = 3\n");
    fs::write(folder.path().join("trimtab.toml"), "workers = 8\n").unwrap();
    let told = follow(&live, NOTICED);
    assert_eq!(next(&told), 8);
}

#[test]
fn following_ends_with_the_last_handle_even_inside_a_subscriber() {
    let (folder, live) = with_file("workers = 3\n");
    let (sender, told) = mpsc::channel();
    let slot = Arc::new(std::sync::Mutex::new(None));
    let inside = slot.clone();
    live.on_change(move |change| {
        drop(inside.lock().unwrap().take());
        sender.send(change.new.workers).unwrap();
    })
    .forever();
    live.watch_with(NOTICED).unwrap();
    *slot.lock().unwrap() = Some(live);
    fs::write(folder.path().join("trimtab.toml"), "workers = 4\n").unwrap();
    while next(&told) != 4 {}
    // The listener, and with it the sender, goes when the settings go.
    assert!(matches!(told.recv_timeout(Duration::from_secs(30)), Err(mpsc::RecvTimeoutError::Disconnected)));
}

#[test]
fn without_a_file_there_is_nothing_to_follow() {
    assert!(matches!(live().watch(), Err(WatchError::NoFile)));
}
