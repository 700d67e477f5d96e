//! The services by name: their binaries, ports and settings.

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// Takes events.
    Ingest,
    /// Folds events into Redis and MongoDB.
    OnlineConsumer,
    /// Copies events to ClickHouse.
    OfflineConsumer,
    /// Answers models.
    FeatureServer,
    /// Runs batch views when they are due.
    Jobs,
}

impl ServiceKind {
    /// The four services that every event passes, in the order in which they are started.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::OnlineConsumer, Self::OfflineConsumer, Self::FeatureServer];

    /// Its name, and the name of its log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::OnlineConsumer => "online-consumer",
            Self::OfflineConsumer => "offline-consumer",
            Self::FeatureServer => "feature-server",
            Self::Jobs => "run-jobs",
        }
    }

    /// Its binary, and the arguments that the binary is given.
    pub fn command(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Jobs => ("millrace", &["run-jobs"]),
            Self::Ingest | Self::OnlineConsumer | Self::OfflineConsumer | Self::FeatureServer => (self.name(), &[]),
        }
    }

    /// The port of CONTRACTS.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Ingest => 8080,
            Self::OnlineConsumer => 9101,
            Self::OfflineConsumer => 9102,
            Self::FeatureServer => 8081,
            Self::Jobs => 9103,
        }
    }

    /// The port of its gRPC API, if it has one.
    pub fn default_grpc_port(self) -> Option<u16> {
        (self == Self::FeatureServer).then_some(50_051)
    }

    /// The setting of its (HTTP) address.
    pub fn listen_variable(self) -> &'static str {
        match self {
            Self::Ingest => "MILLRACE_INGEST_LISTEN",
            Self::OnlineConsumer | Self::OfflineConsumer | Self::Jobs => "MILLRACE_ADMIN_LISTEN",
            Self::FeatureServer => "MILLRACE_SERVE_LISTEN",
        }
    }

    /// Whether several services read their address from the same setting. They cannot share an address, so that
    /// setting counts only if it asks for a free port.
    pub(crate) fn shares_listen_variable(self) -> bool {
        match self {
            Self::OnlineConsumer | Self::OfflineConsumer | Self::Jobs => true,
            Self::Ingest | Self::FeatureServer => false,
        }
    }
}
