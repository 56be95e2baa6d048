//! How a connection to a broker is made: MQTT 5, over TLS with the broker verified, with token or certificate; and a trial of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, TlsConfiguration};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use wire::topic::GatewayTopic;

use crate::broker::{Address, Broker, ClientCertificate};
use crate::config::Gateway;
use crate::trouble::{BrokerTrouble, TroubleKind};

/// The largest packet either way; reports have at most 256 KiB.
const PACKET_BYTES_MAX: u32 = 1024 * 1024;
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// What is needed for one connection. Certificate files are read anew each time, so that a renewed one is used.
pub(crate) fn options(broker: &Broker, address: &Address, gateway: &Gateway, client_id: &str) -> Result<MqttOptions, BrokerTrouble> {
    let mut options = MqttOptions::new(client_id, &address.host, address.port);
    if !gateway.token.0.is_empty() {
        options.set_credentials(&gateway.id, &gateway.token.0);
    }
    if address.tls {
        let config = tls_config(broker)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))));
    }
    options.set_clean_start(true);
    options.set_keep_alive(broker.keep_alive);
    options.set_connection_timeout(broker.connect_timeout.as_secs_f64().ceil() as u64);
    options.set_max_packet_size(Some(PACKET_BYTES_MAX));
    // One more than we ever use, for the subscription's packet id.
    options.set_outgoing_inflight_upper_limit(broker.in_flight_max + 1);
    Ok(options)
}

fn tls_config(broker: &Broker) -> Result<ClientConfig, BrokerTrouble> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: rustls::Error| BrokerTrouble::new(TroubleKind::TlsFailed, error.to_string());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = builder.with_root_certificates(trusted(broker.ca_file.as_deref())?);
    match &broker.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(ClientCertificate { cert_file, key_file }) => {
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| of_file(key_file, error))?;
            builder.with_client_auth_cert(certificates(cert_file)?, key).map_err(|error| of_file(cert_file, error))
        }
    }
}

fn trusted(ca_file: Option<&Path>) -> Result<RootCertStore, BrokerTrouble> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| of_file(path, error))?;
            }
        }
        None => {
            // Among a system's many there may be some of a form that is not understood.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(BrokerTrouble::new(TroubleKind::FileUnusable, "this machine has no CA certificates; set broker.ca_file"));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BrokerTrouble> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| of_file(path, error))?;
    if certificates.is_empty() { Err(of_file(path, "there is no certificate in it")) } else { Ok(certificates) }
}

fn of_file(path: &Path, error: impl std::fmt::Display) -> BrokerTrouble {
    BrokerTrouble::new(TroubleKind::FileUnusable, format!("{}: {error}", path.display()))
}

/// Connects as the agent would, subscribes to what the agent would listen to, and leaves. The running agent isn't disturbed.
pub async fn try_address(broker: &Broker, address: &Address, gateway: &Gateway) -> Result<(), BrokerTrouble> {
    let options = options(broker, address, gateway, &format!("{}/check", gateway.id))?;
    let (client, mut connection) = AsyncClient::new(options, 2);
    let listening = async {
        loop {
            match connection.poll().await.map_err(|error| BrokerTrouble::from(&error))? {
                Event::Incoming(Packet::ConnAck(_)) => subscribe(&client, gateway, &[GatewayTopic::Refused, GatewayTopic::Standing])?,
                Event::Incoming(Packet::SubAck(answer)) => return subscribed(&answer.return_codes),
                _ => {}
            }
        }
    };
    let tried = tokio::time::timeout(broker.connect_timeout * 2, listening).await;
    let tried = tried.unwrap_or_else(|_| Err(BrokerTrouble::new(TroubleKind::Silent, "no answer to the subscription")));
    say_goodbye(&client, &mut connection).await;
    tried
}

pub(crate) fn subscribe(client: &AsyncClient, gateway: &Gateway, topics: &[GatewayTopic]) -> Result<(), BrokerTrouble> {
    let filters = topics.iter().map(|topic| Filter::new(topic.of(&gateway.id), QoS::AtLeastOnce));
    client.try_subscribe_many(filters).map_err(|error| BrokerTrouble::new(TroubleKind::Closed, error.to_string()))
}

pub(crate) fn subscribed(codes: &[SubscribeReasonCode]) -> Result<(), BrokerTrouble> {
    match codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
        Some(code) => Err(BrokerTrouble::new(TroubleKind::SubscriptionRefused, format!("{code:?}"))),
        None => Ok(()),
    }
}

pub(crate) async fn say_goodbye(client: &AsyncClient, connection: &mut EventLoop) {
    let goodbye = async {
        client.try_disconnect().ok()?;
        loop {
            if let Event::Outgoing(Outgoing::Disconnect) = connection.poll().await.ok()? {
                return Some(());
            }
        }
    };
    // Without a connection there is nobody to say it to.
    let _ = tokio::time::timeout(GOODBYE_WAIT, goodbye).await;
}
