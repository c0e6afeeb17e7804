//! A program that brought its own recorder gets a clear answer.
#![cfg(feature = "prometheus")]

use metrics_util::debugging::DebuggingRecorder;
use trimtab_monitor::prometheus::{self, InstallError};

#[test]
fn a_foreign_recorder_is_an_error_and_stays() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().expect("the first");
    let error = prometheus::install().expect_err("taken");
    assert_eq!(error, InstallError::OtherRecorder);
    assert!(error.to_string().contains("another metrics recorder already"));
    assert!(prometheus::installed().is_none());
    metrics::counter!("still_counted_total").increment(1);
    assert!(snapshotter.snapshot().into_vec().iter().any(|(key, ..)| key.key().name() == "still_counted_total"));
}
