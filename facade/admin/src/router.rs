//! Puts the routes together: groups with a gate in front, problems for what no route takes.

#[cfg(feature = "limit")]
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use axum::Router;
#[cfg(feature = "limit")]
use axum::extract::ConnectInfo;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use trimtab_monitor::Reclaimer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::body::Limit;
use crate::console::Console;
use crate::guard::{Access, Guard, Listener};
use crate::metrics::{Group, Handles};
#[cfg(feature = "limit")]
use crate::problem::ProblemKind;
use crate::problem::{Problem, method_not_allowed, no_such_route};
use crate::routes;
use crate::settings::AdminSettings;
use crate::stream::Events;
#[cfg(feature = "limit")]
use crate::throttle::bucket;

/// What the handlers of one router share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) console: Console,
    pub(crate) settings: AdminSettings,
    pub(crate) guard: Guard,
    pub(crate) metrics: Handles,
    pub(crate) events: Events,
    /// Whether an optimisation runs.
    pub(crate) optimizing: Arc<AtomicBool>,
    pub(crate) reclaimer: Arc<Reclaimer>,
    /// Held while limits of a cache are changed: a change that is put back must not take another's with it.
    pub(crate) changing: parking_lot::Mutex<()>,
}

impl App {
    pub(crate) fn body_limit(&self) -> Limit {
        Limit { max: self.settings.body_max, setting: "body_max", time: self.settings.body_timeout.get() }
    }

    /// Whether this peer may ask again, where peers are limited.
    #[cfg_attr(not(feature = "limit"), allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "for limits"))]
    fn pass(&self, group: Group, request: &Parts) -> Result<(), Problem> {
        let _ = (group, request);
        #[cfg(feature = "limit")]
        if let Some(limit) = self.console.parts().peers.get()
            && !matches!(group, Group::Page | Group::Health | Group::Events | Group::Entries | Group::Entry)
        {
            let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
            limit.check(&bucket(peer)).map_err(|error| {
                let after = error.retry_after().map_or(1, |after| after.as_secs() + 1);
                let detail = format!("{error}; ask less often, or raise limit.{}.rate", limit.name());
                Problem::new(ProblemKind::TooManyRequests, detail).retry_after(after)
            })?;
        }
        Ok(())
    }

    pub(crate) fn entry_limit(&self) -> Limit {
        Limit { max: self.settings.entry_max, setting: "entry_max", time: self.settings.body_timeout.get() }
    }
}

/// The routes, for mounting in another application: `app.merge(router(…))` or `app.nest("/admin", router(…))`.
///
/// It has no fallback of its own. Since it cannot know who reaches that application, a write needs the token or, without
/// one, a peer on this machine; the peer is known when the application is served with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
///
/// Build it inside of the tokio runtime, after the metrics recorder is installed.
pub fn router(console: Console, settings: AdminSettings) -> Router {
    build(console, settings, Listener::Foreign).0
}

/// The routes for a listener of their own, bound to `settings.address`: with the 404 of this API, and without a token
/// trusting that a loopback address is reached from this machine only.
///
/// Serve it with `ConnectInfo<SocketAddr>` when a token is set, so that wrong tokens are counted by peer.
pub fn standalone(console: Console, settings: AdminSettings) -> Router {
    let (router, _) = build(console, settings, Listener::Own);
    router.fallback(|uri: Uri| async move { no_such_route(&uri) })
}

/// The OpenAPI document of the routes.
///
/// ```
/// let document = trimtab_admin::openapi();
/// assert!(document.paths.paths.contains_key("/api/memory/cache/{name}/create"));
/// ```
pub fn openapi() -> OpenApi {
    let mut document = routes::document();
    for (_, routes) in routes::all() {
        document.merge(routes.into_openapi());
    }
    // The router writes a parameter that may hold slashes as `{*key}`; OpenAPI knows only `{key}`.
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, item) in paths {
        let plain = path.replace("{*", "{");
        match document.paths.paths.get_mut(&plain) {
            Some(known) => known.merge_operations(item),
            None => {
                document.paths.paths.insert(plain, item);
            }
        }
    }
    document
}

fn build(console: Console, settings: AdminSettings, listener: Listener) -> (Router, Arc<App>) {
    let app = Arc::new(App {
        guard: Guard::new(&settings, listener),
        metrics: Handles::new(),
        events: Events::new(settings.events_max, settings.events_interval.get(), settings.history),
        optimizing: Arc::default(),
        reclaimer: Arc::new(Reclaimer::new(console.monitor().settings().reclaim_gap.get())),
        changing: parking_lot::Mutex::default(),
        console,
        settings,
    });
    Events::start(&app);
    let mut router = Router::new();
    for (group, routes) in routes::all() {
        let (mut routes, _) = routes.split_for_parts();
        // Reading an entry is the path that must cost nothing: its handler asks the guard itself.
        if group != Group::Entry {
            routes = routes.layer(middleware::from_fn_with_state((Arc::clone(&app), group), gate));
        }
        router = router.merge(routes);
    }
    let unmatched = {
        let app = Arc::clone(&app);
        move |method: Method, uri: Uri| async move {
            let problem = method_not_allowed(&method, &uri);
            app.metrics.count(Group::Unmatched, problem.status());
            problem
        }
    };
    (router.method_not_allowed_fallback(unmatched).with_state(Arc::clone(&app)), app)
}

/// In front of every route but the reading of an entry: access, meters, headers.
async fn gate(State((app, group)): State<(Arc<App>, Group)>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let access = match (group, Access::of(request.method())) {
        (Group::Page | Group::Health, Access::Read) => Access::Public,
        (_, access) => access,
    };
    let (parts, body) = request.into_parts();
    let uri = parts.uri.clone();
    let may = app.guard.check(access, &parts).and_then(|()| app.pass(group, &parts));
    let mut response = match may {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.at(&uri).into_response(),
    };
    app.metrics.observe(group, response.status(), started.elapsed());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The routes of one group, before they know the application.
pub(crate) type Routes = OpenApiRouter<Arc<App>>;

/// What handlers answer: the good case, or a problem.
pub(crate) type Answer<T> = Result<T, Problem>;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::http::header::RETRY_AFTER;
    use serde_json::Value;
    use tower::ServiceExt;
    use trimtab_cache::Caches;
    use trimtab_config::Profile;
    use trimtab_monitor::Monitor;

    use super::*;
    use crate::{SettingLayer, SettingLeaf, SettingsView};

    struct Nothing;

    impl SettingsView for Nothing {
        fn profile(&self) -> Profile {
            Profile::Minimal
        }
        fn environment(&self) -> String {
            String::new()
        }
        fn leaves(&self) -> Vec<SettingLeaf> {
            Vec::new()
        }
        fn explain(&self, _: &str) -> Option<Vec<SettingLayer>> {
            None
        }
        fn schema(&self) -> Value {
            Value::Null
        }
    }

    fn parts() -> (Router, Arc<App>) {
        let monitor = Monitor::builder().start().expect("a monitor");
        let console = Console::new(Caches::new(), monitor, Arc::new(Nothing), "test", "0");
        build(console, AdminSettings::default(), Listener::Own)
    }

    #[tokio::test]
    async fn a_second_optimisation_is_told_to_wait() {
        let (router, app) = parts();
        let trigger = || {
            let request = Request::post("/api/memory/optimization/trigger").body(Body::empty());
            router.clone().oneshot(request.expect("a request"))
        };
        app.optimizing.store(true, Ordering::Release);
        let refused = trigger().await.expect("an answer");
        assert_eq!((refused.status(), &refused.headers()[RETRY_AFTER]), (StatusCode::CONFLICT, &HeaderValue::from(1)));
        app.optimizing.store(false, Ordering::Release);
        assert_eq!(trigger().await.expect("an answer").status(), StatusCode::OK);
        assert!(!app.optimizing.load(Ordering::Acquire), "the turn is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn the_recorder_ends_with_the_router() {
        let (router, strong) = parts();
        let app = Arc::downgrade(&strong);
        drop((router, strong));
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        assert!(app.upgrade().is_none());
    }
}
