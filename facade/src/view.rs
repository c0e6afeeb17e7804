//! The settings as the HTTP API shows them.

use std::sync::Arc;

use serde_json::Value;
use trimtab_admin::{Console, SettingLayer, SettingLeaf, SettingsView};
use trimtab_cache::Caches;
use trimtab_config::{Live, Profile};
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
}
