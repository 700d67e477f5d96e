//! Where services listen: addresses from settings, checked to be free before anything starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::error::DevstackError;
use crate::ports;
use crate::services::ServiceKind;

/// The setting of the address of the gRPC API.
pub(crate) const GRPC_VARIABLE: &str = "MILLRACE_SERVE_GRPC_LISTEN";

/// Where one service listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceAddresses {
    /// Events, features or the admin routes.
    pub(crate) http: SocketAddr,
    /// The gRPC API, if the service has one.
    pub(crate) grpc: Option<SocketAddr>,
}

impl ServiceAddresses {
    /// Free ports of loopback.
    pub(crate) fn free(kind: ServiceKind) -> Result<Self, DevstackError> {
        let grpc = kind.default_grpc_port().map(|_| ports::free()).transpose()?;
        Ok(Self { http: on_loopback(ports::free()?), grpc: grpc.map(on_loopback) })
    }

    /// The addresses of the settings that `setting` looks up, or else the ports of CONTRACTS on loopback.
    pub(crate) fn configured(
        kind: ServiceKind,
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, DevstackError> {
        let told = |variable: &'static str| -> Result<Option<SocketAddr>, DevstackError> {
            setting(variable).filter(|text| !text.is_empty()).map(|text| parse(variable, text)).transpose()
        };
        let http = told(kind.listen_variable())?.filter(|told| !kind.shares_listen_variable() || told.port() == 0);
        let http = resolved(http.unwrap_or(on_loopback(kind.default_port())))?;
        let grpc = match kind.default_grpc_port() {
            Some(port) => Some(resolved(told(GRPC_VARIABLE)?.unwrap_or(on_loopback(port)))?),
            None => None,
        };
        Ok(Self { http, grpc })
    }

    /// Fails if another program listens there already. Readiness is asked of the port, so that program's answer would
    /// be taken for the service's.
    pub(crate) fn check_free(&self, kind: ServiceKind) -> Result<(), DevstackError> {
        let http = (Some(self.http), kind.listen_variable(), kind.shares_listen_variable());
        for (address, variable, shared) in [http, (self.grpc, GRPC_VARIABLE, false)] {
            let Some(address) = address else { continue };
            TcpListener::bind(address).map(drop).map_err(|source| DevstackError::Port {
                service: kind.name(),
                address,
                advice: if shared {
                    format!("set {variable}=127.0.0.1:0, which gives each of its services a free port")
                } else {
                    format!("set {variable} to another address")
                },
                source,
            })?;
        }
        Ok(())
    }
}

/// The address at which a client on this machine reaches a listener: one on all addresses listens on loopback too.
pub(crate) fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn parse(variable: &'static str, text: String) -> Result<SocketAddr, DevstackError> {
    text.parse().map_err(|_| DevstackError::Address { variable, text })
}

/// Replaces port 0 by a free port that is known.
fn resolved(address: SocketAddr) -> Result<SocketAddr, DevstackError> {
    Ok(SocketAddr::new(address.ip(), if address.port() == 0 { ports::free()? } else { address.port() }))
}

fn on_loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(kind: ServiceKind, settings: &[(&str, &str)]) -> Result<ServiceAddresses, DevstackError> {
        let value =
            |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        ServiceAddresses::configured(kind, value)
    }

    #[test]
    fn a_setting_is_an_address_or_an_error_that_names_it() {
        let error = configured(ServiceKind::Ingest, &[("MILLRACE_INGEST_LISTEN", "8081")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "MILLRACE_INGEST_LISTEN is `8081`, which is not an address; write for example 127.0.0.1:8080"
        );
        let server = configured(ServiceKind::FeatureServer, &[("MILLRACE_SERVE_LISTEN", "")]).unwrap();
        assert_eq!(server.http.to_string(), "127.0.0.1:8081");
        assert_eq!(server.grpc.unwrap().to_string(), "127.0.0.1:50051");
    }

    #[test]
    fn the_shared_setting_of_admin_addresses_counts_only_for_free_ports() {
        let shared = |text| configured(ServiceKind::OnlineConsumer, &[("MILLRACE_ADMIN_LISTEN", text)]).unwrap().http;
        assert_eq!(shared("127.0.0.4:1").to_string(), "127.0.0.1:9101");
        let free = shared("127.0.0.1:0");
        assert!(free.port() != 0 && free.port() != 9101, "{free}");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_that_names_the_port_and_the_setting() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = holder.local_addr().unwrap();
        let refused = |kind: ServiceKind| {
            let addresses = ServiceAddresses { http, grpc: None };
            addresses.check_free(kind).unwrap_err().to_string()
        };
        let start = format!("port {} of 127.0.0.1 is not free for ", http.port());
        let server = refused(ServiceKind::FeatureServer);
        assert!(server.starts_with(&format!("{start}feature-server")), "{server}");
        assert!(server.ends_with("or set MILLRACE_SERVE_LISTEN to another address"), "{server}");
        let worker = refused(ServiceKind::OfflineConsumer);
        assert!(worker.contains("set MILLRACE_ADMIN_LISTEN=127.0.0.1:0"), "{worker}");
        let grpc = ServiceAddresses { http: on_loopback(ports::free().unwrap()), grpc: Some(http) };
        let grpc = grpc.check_free(ServiceKind::FeatureServer).unwrap_err().to_string();
        assert!(grpc.contains("set MILLRACE_SERVE_GRPC_LISTEN to another address"), "{grpc}");
    }
}
