//! `Dockerfile` and `docker-compose.yml` agree with the binaries: their settings, ports, health checks and names. No
//! container engine is needed, and no container engine has run them yet.

mod compose;
mod dockerfile;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use clap::{Args, Command, CommandFactory};
use compose::{Compose, Condition, Service, Volume};
use dockerfile::{Stage, stages};
use millrace::commands::{apply, migrate, run_jobs};
use millrace_common::config::parse_duration;
use millrace_devstack::services::ServiceKind;
use millrace_e2e::World;
use millrace_e2e::compose::{COMPOSE, interpolated};
use reqwest::Url;

const STORES: [&str; 3] = ["clickhouse", "mongodb", "redis"];

/// Reads the compose file. A variable that must be given has its own name as its value, so that tests recognize it.
fn file() -> Compose {
    let given = |name: &str, default: &str| if default.is_empty() { name.to_owned() } else { default.to_owned() };
    serde_saphyr::from_str(&interpolated(COMPOSE, given)).expect("docker-compose.yml")
}

/// A container of a Millrace binary: its entry in the compose file, and the image that it is made from.
struct Container<'a> {
    name: &'a str,
    service: &'a Service,
    target: &'a str,
    image: Stage,
}

impl Container<'_> {
    fn environment(&self) -> BTreeMap<&str, &str> {
        let all = self.image.env.iter().chain(&self.service.environment);
        all.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The command-line parser of the binary that this container runs.
    fn command(&self) -> Command {
        match self.target {
            "ingest" => millrace_ingest::Config::command(),
            "online-consumer" => millrace_online_consumer::Config::command(),
            "offline-consumer" => millrace_offline_consumer::Config::command(),
            "feature-server" => millrace_feature_server::Config::command(),
            "millrace" => match self.service.command.first().map(String::as_str) {
                Some("migrate") => migrate::MigrateArgs::augment_args(Command::new("migrate")),
                Some("apply") => apply::ApplyArgs::augment_args(Command::new("apply")),
                Some("run-jobs") => run_jobs::RunJobsArgs::augment_args(Command::new("run-jobs")),
                other => panic!("teach this test the parser of `millrace {other:?}`"),
            },
            other => panic!("teach this test the parser of `{other}`"),
        }
    }

    /// The arguments for the parser: the environment as flags, so that this process's own is not read, then `more`.
    fn arguments(&self, more: &[String]) -> Vec<String> {
        let command = self.command();
        let flag = |(name, value): (&str, &str)| {
            let known = command.get_arguments().find(|known| known.get_env().is_some_and(|env| env == name));
            let known = known.unwrap_or_else(|| panic!("{} knows no setting {name}", self.name));
            format!("--{}={value}", known.get_long().expect("every setting is a flag too"))
        };
        let flags = self.environment().into_iter().map(flag);
        std::iter::once(command.get_name().to_owned()).chain(flags).chain(more.iter().cloned()).collect()
    }
}

fn built(file: &Compose) -> Vec<Container<'_>> {
    let stages = stages();
    let mut containers = Vec::new();
    for (name, service) in &file.services {
        let Some(build) = &service.build else { continue };
        let image = stages.get(&build.target).unwrap_or_else(|| panic!("no stage `{}`", build.target)).clone();
        containers.push(Container { name, service, target: &build.target, image });
    }
    containers
}

fn kinds() -> impl Iterator<Item = ServiceKind> {
    ServiceKind::ALL.into_iter().chain([ServiceKind::Jobs])
}

/// The containers that run for ever.
fn services(file: &Compose) -> Vec<(ServiceKind, Container<'_>)> {
    let kind = |name: &str| kinds().find(|kind| kind.name() == name);
    built(file).into_iter().filter_map(|container| Some((kind(container.name)?, container))).collect()
}

#[test]
fn every_container_has_settings_that_its_binary_understands() {
    for container in built(&file()) {
        let more = if container.target == "millrace" { &container.service.command[1..] } else { &[] };
        let parsed = container.command().try_get_matches_from(container.arguments(more));
        assert!(parsed.is_ok(), "{}: {}", container.name, parsed.unwrap_err());
    }
}

#[test]
fn nothing_in_a_container_is_left_on_loopback() {
    for container in built(&file()) {
        let given = container.environment();
        for setting in container.command().get_arguments() {
            let Some(name) = setting.get_env().and_then(|name| name.to_str()) else { continue };
            let loopback =
                setting.get_default_values().iter().any(|value| value.to_string_lossy().contains("127.0.0.1"));
            if loopback || name.ends_with("_LISTEN") {
                assert!(given.contains_key(name), "{} is not given {name}", container.name);
            }
        }
    }
}

#[test]
fn the_stores_are_reached_at_their_names_and_with_their_passwords() {
    let file = file();
    let given = |store: &str, name: &str| file.services[store].environment.get(name).cloned();
    for container in built(&file) {
        let urls = container.environment().into_iter().filter(|(name, _)| name.ends_with("_URL"));
        let urls: Vec<Url> = urls.map(|(_, url)| url.parse().expect("a URL")).collect();
        let hosts: BTreeSet<&str> = urls.iter().filter_map(Url::host_str).collect();
        assert_eq!(hosts, STORES.into(), "{}", container.name);
        for url in &urls {
            let (store, user) = (url.host_str().unwrap(), Some(url.username().to_owned()));
            let (user_given, password_given) = match store {
                "redis" => (Some(String::new()), given(store, "REDISCLI_AUTH")),
                "mongodb" => (given(store, "MONGO_INITDB_ROOT_USERNAME"), given(store, "MONGO_INITDB_ROOT_PASSWORD")),
                _ => (given(store, "CLICKHOUSE_USER"), given(store, "CLICKHOUSE_PASSWORD")),
            };
            assert_eq!((user, url.password().map(str::to_owned)), (user_given, password_given), "{store}");
            assert!(url.password().is_some_and(|password| password.ends_with("_PASSWORD")), "{store}: not in the file");
            let shared = container.service.networks.iter().any(|name| file.services[store].networks.contains(name));
            assert!(shared, "{} and {store} share no network", container.name);
        }
    }
    let redis = &file.services["redis"].command;
    let option = |name: &str| redis.iter().skip_while(|word| *word != name).nth(1).map(String::as_str);
    assert_eq!(option("--requirepass"), Some("REDIS_PASSWORD"));
    assert_eq!(option("--maxmemory-policy"), Some("noeviction"), "Millrace refuses any other");
}

#[test]
fn every_service_listens_on_its_documented_port() {
    let file = file();
    let services = services(&file);
    assert_eq!(services.len(), kinds().count());
    for (kind, container) in services {
        let listen = container.environment().into_iter().filter(|(name, _)| name.ends_with("_LISTEN"));
        let listen: Vec<SocketAddr> = listen.map(|(_, address)| address.parse().expect("an address")).collect();
        assert!(listen.iter().all(|address| address.ip().is_unspecified()), "{}", kind.name());
        let ports: Vec<u16> = listen.iter().map(SocketAddr::port).collect();
        assert!(ports.contains(&kind.default_port()), "{}", kind.name());
        assert_eq!(container.image.exposed, ports, "{}", kind.name());
        for setting in container.command().get_arguments() {
            let defaults = setting.get_default_values().iter().map(|value| value.to_string_lossy());
            for default in defaults.filter_map(|value| value.parse::<SocketAddr>().ok()) {
                assert!(ports.contains(&default.port()), "{} is by default on {default}", kind.name());
            }
        }
        // APIs are published on the host's loopback alone. Consumers are not published: a second one could not start.
        let has_api = matches!(kind, ServiceKind::Ingest | ServiceKind::FeatureServer);
        let published =
            ports.iter().filter(|_| has_api).map(|port| format!("127.0.0.1:{port}:{port}")).collect::<Vec<_>>();
        assert_eq!(container.service.ports, published, "{}", kind.name());
        let reachable = container.service.networks.iter().any(|name| !file.networks[name].internal);
        assert_eq!(reachable, has_api, "{}", kind.name());
    }
}

#[test]
fn every_service_is_asked_by_its_own_binary_whether_it_is_ready() {
    for (kind, container) in services(&file()) {
        let check = container.service.healthcheck.as_ref().expect("a health check");
        assert_eq!(check.test[0], "CMD", "{}: there is no shell to rely on", kind.name());
        assert_eq!(check.test[1..2], container.image.entrypoint, "{}", kind.name());
        let more = check.test[2..].strip_prefix(container.service.command.as_slice()).expect("the same command");
        let parsed = container.command().try_get_matches_from(container.arguments(more));
        assert!(parsed.expect("the check parses").get_flag("healthcheck"), "{}", kind.name());
        assert!(parse_duration(&check.timeout).unwrap() > millrace_common::healthcheck::TIMEOUT * 2);
    }
}

#[test]
fn every_container_starts_after_what_it_needs_and_stops_in_its_own_time() {
    let file = file();
    for container in built(&file) {
        let (name, service) = (container.name, container.service);
        let mut needed = BTreeSet::new();
        let mut open: Vec<&Service> = vec![service];
        while let Some(service) = open.pop() {
            for (other, dependency) in &service.depends_on {
                let other_service = file.services.get(other).unwrap_or_else(|| panic!("{name} needs {other}"));
                match dependency.condition {
                    Condition::ServiceHealthy => assert!(other_service.healthcheck.is_some(), "{other}"),
                    Condition::ServiceCompletedSuccessfully => assert_eq!(other_service.restart, "no", "{other}"),
                }
                needed.insert(other.as_str());
                open.push(other_service);
            }
        }
        assert!(STORES.iter().all(|store| needed.contains(store)), "{name}: {needed:?}");
        assert_eq!(service.restart == "no", !kinds().any(|kind| kind.name() == name), "{name}");
    }
    for (kind, container) in services(&file) {
        assert!(container.service.depends_on.contains_key("apply"), "{}", kind.name());
        let command = container.command();
        let grace = command.get_arguments().find(|setting| setting.get_id() == "grace").expect("a grace period");
        let grace = parse_duration(&grace.get_default_values()[0].to_string_lossy()).unwrap();
        let killed_after = container.service.stop_grace_period.as_deref().expect("a grace period");
        assert!(parse_duration(killed_after).unwrap() > grace, "{}", kind.name());
    }
}

#[test]
fn containers_have_no_privileges_and_a_limit() {
    let file = file();
    for container in built(&file) {
        let (name, service) = (container.name, container.service);
        assert!(service.read_only && service.cap_drop == ["ALL"], "{name}");
        let user = container.image.user.as_deref().expect("a user");
        let numbers: Option<Vec<u32>> = user.split(':').map(|id| id.parse().ok()).collect();
        assert!(numbers.expect("user and group by number").iter().all(|id| *id > 0), "{name}");
    }
    for (name, service) in &file.services {
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        assert!(service.networks.iter().all(|network| file.networks.contains_key(network)), "{name}");
        if service.restart != "no" {
            let limits = service.deploy.as_ref().map(|deploy| deploy.resources.limits.memory.as_str());
            assert!(limits.is_some_and(|memory| memory.ends_with('g')), "{name}");
            assert!(service.healthcheck.is_some(), "{name}");
        }
    }
    for store in STORES {
        let store = &file.services[store];
        assert!(store.ports.is_empty() && store.networks.iter().all(|name| file.networks[name].internal));
    }
}

#[test]
fn images_have_versions_and_data_has_volumes() {
    let file = file();
    for (name, service) in &file.services {
        let (image, tag) = service.image.rsplit_once(':').unwrap_or_else(|| panic!("{name} has no version"));
        assert!(tag.starts_with(|first: char| first.is_ascii_digit()), "{name}: {tag}");
        match &service.build {
            Some(build) => {
                assert_eq!((build.context.as_str(), image), (".", format!("millrace/{}", build.target).as_str()));
                assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{name}");
            }
            None => assert!(STORES.contains(&name.as_str()) && !service.volumes.is_empty(), "{name}"),
        }
        for volume in &service.volumes {
            match volume {
                Volume::Named(text) => {
                    let (volume, _) = text.split_once(':').expect("name:path");
                    assert!(file.volumes.contains_key(volume), "{name}: {volume}");
                }
                Volume::Bind(bind) => assert!(bind.kind == "bind" && bind.read_only, "{name}: {}", bind.target),
            }
        }
    }
}

#[test]
fn the_definitions_that_are_applied_are_there() {
    let file = file();
    let service = &file.services["apply"];
    let [_, definitions] = &service.command[..] else { panic!("apply FILE") };
    let [Volume::Bind(bind)] = &service.volumes[..] else { panic!("one folder of definitions") };
    let inside = Path::new(definitions).strip_prefix(&bind.target).expect("in the mounted folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert!(root.join(&bind.source).join(inside).is_file(), "{}/{}", bind.source, inside.display());
}

#[test]
fn the_dockerfile_makes_an_image_of_every_binary() {
    let stages = stages();
    let manifest = include_str!("../../../../Cargo.toml");
    let members =
        manifest.split("default-members = [").nth(1).and_then(|rest| rest.split(']').next()).expect("members");
    let members = members.split(',').map(|member| member.trim().trim_matches('"'));
    let wanted = members.filter(|member| !member.starts_with("devstack")).map(|member| match member {
        "cli" => "millrace",
        service => service,
    });
    let build = &stages["build"];
    for name in wanted {
        let stage = stages.get(name).unwrap_or_else(|| panic!("no stage `{name}`"));
        assert_eq!(stage.entrypoint, [format!("/usr/local/bin/{name}")]);
        assert!(stage.steps.contains(&format!("COPY --from=build /out/{name} /usr/local/bin/")), "{name}");
        let steps = build.steps.join("\n");
        for part in [format!(" --bin {name} "), format!(" target/release/{name} ")] {
            assert!(steps.contains(&part), "the build lacks `{part}`");
        }
        assert_eq!(stage.image, "debian:12-slim", "the release whose glibc the build has linked");
    }
    assert_eq!(build.image, format!("rust:{}-bookworm", env!("CARGO_PKG_RUST_VERSION")));
}

#[test]
fn secrets_and_what_was_built_stay_out_of_the_build() {
    let ignored: Vec<&str> = include_str!("../../../../.dockerignore").lines().collect();
    for path in [".env", ".env.*", ".git", "**/target"] {
        assert!(ignored.contains(&path), "{path}");
    }
}

/// Runs each binary as its container would, but on a free port and on the host's network.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_is_healthy_and_a_stopped_one_is_not() {
    let world = World::shared().await;
    let file = file();
    let engine = world.stack.clickhouse().server().to_owned();
    let (_, version) = file.services["clickhouse"].image.rsplit_once(':').unwrap();
    assert!(engine.contains(version), "the tests run on {engine}, compose on {version}");
    for (kind, container) in services(&file) {
        let mut service = world.start(kind, kind.name()).await;
        let port = service.url().rsplit_once(':').unwrap().1.to_owned();
        let check = async || {
            tokio::process::Command::new(world.options.bin.join(kind.command().0))
                .args(&container.service.healthcheck.as_ref().unwrap().test[2..])
                .env(kind.listen_variable(), format!("0.0.0.0:{port}"))
                .output()
                .await
                .expect("the binary runs")
        };
        let healthy = check().await;
        assert!(healthy.status.success(), "{}: {}", kind.name(), String::from_utf8_lossy(&healthy.stderr));
        service.stop().unwrap();
        let gone = check().await;
        assert_eq!(gone.status.code(), Some(1), "{}", kind.name());
        assert!(String::from_utf8_lossy(&gone.stderr).contains("is it running?"), "{}", kind.name());
    }
}
