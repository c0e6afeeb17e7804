//! The settings as the HTTP API shows them.

use std::sync::Arc;

use serde_json::Value;
use trimtab_admin::{Console, SettingChange, SettingLayer, SettingLeaf, SettingsView};
use trimtab_cache::Caches;
use trimtab_config::{Changes, Invalid, Live, Problem, Profile};
use trimtab_monitor::Monitor;

use crate::settings::TrimtabSettings;

pub(crate) fn console(live: &Live<TrimtabSettings>, caches: &Caches, monitor: &Monitor) -> Console {
    let view = Arc::new(View { live: live.clone() });
    Console::new(caches.clone(), monitor.clone(), view, "trimtab", env!("CARGO_PKG_VERSION"))
}

struct View {
    live: Live<TrimtabSettings>,
}

impl SettingsView for View {
    fn profile(&self) -> Profile {
        self.live.loaded().profile
    }

    fn environment(&self) -> String {
        self.live.loaded().environment.to_string()
    }

    fn leaves(&self) -> Vec<SettingLeaf> {
        let loaded = self.live.loaded();
        loaded
            .leaves()
            .into_iter()
            .map(|leaf| SettingLeaf { path: leaf.path, value: leaf.value, origin: leaf.origin })
            .collect()
    }

    fn explain(&self, path: &str) -> Option<Vec<SettingLayer>> {
        let explanation = self.live.loaded().explain(path).ok()?.into_iter().find(|leaf| leaf.path == path)?;
        // The console lists the lowest layer first.
        let layers = explanation.layers.into_iter().rev();
        Some(
            layers
                .map(|layer| SettingLayer { origin: layer.origin, value: layer.value, wins: layer.effective })
                .collect(),
        )
    }

    fn schema(&self) -> Value {
        trimtab_config::schema::<TrimtabSettings>()
    }

    fn patch(&self, patch: Value) -> Result<Vec<SettingChange>, Vec<Problem>> {
        shown(self.live.patch(patch))
    }

    fn reset(&self, path: &str) -> Result<Vec<SettingChange>, Vec<Problem>> {
        shown(self.live.reset(path))
    }

    fn patches(&self) -> Value {
        self.live.patches()
    }
}

/// A change in the console's words; values and problems come masked.
fn shown(result: Result<Changes, Invalid>) -> Result<Vec<SettingChange>, Vec<Problem>> {
    let changes = result.map_err(|invalid| invalid.problems().to_vec())?;
    let change = |leaf: &trimtab_config::LeafChange| SettingChange {
        path: leaf.path.clone(),
        old: leaf.old.clone(),
        new: leaf.new.clone(),
        origin: leaf.origin.clone(),
        restart: leaf.restart,
    };
    Ok(changes.iter().map(change).collect())
}
