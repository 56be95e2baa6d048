//! Why a connection ends: the label of the metric, MQTT 5's reason code, and what it says.

use rmqtt_codec::v5::DisconnectReasonCode as Code;

macro_rules! endings {
    ($($(#[$about:meta])* $name:ident $label:literal $code:expr, $said:literal;)*) => {
        /// Why the door ends a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Ending {
            $($(#[$about])* $name,)*
        }

        impl Ending {
            /// The label of the metric.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Ending::$name => $label,)*
                }
            }

            /// MQTT 5's reason code of the DISCONNECT that says so; `None` where there is nobody to tell.
            pub(crate) fn reason_code(self) -> Option<Code> {
                match self {
                    $(Ending::$name => $code,)*
                }
            }

            /// For the technician at the other end.
            pub(crate) fn said(self) -> &'static str {
                match self {
                    $(Ending::$name => $said,)*
                }
            }
        }
    };
}

endings! {
    /// The client said goodbye.
    Disconnected "disconnected" None, "";
    /// The client went away without one.
    Lost "lost" None, "";
    Malformed "malformed" Some(Code::MalformedPacket), "a packet is not formed as the standard says";
    PacketTooLarge "packet_too_large" Some(Code::PacketTooLarge), "the packet is larger than CONNACK allows";
    Protocol "protocol" Some(Code::ProtocolError), "a packet that the standard does not allow here";
    /// A CONNECT with neither a client id nor a clean start; it is refused as such.
    NoClientId "client_id" None, "";
    TopicInvalid "topic_invalid" Some(Code::TopicNameInvalid), "a topic name is not empty and has no wildcards";
    ForeignTopic "foreign_topic" Some(Code::NotAuthorized), "a gateway publishes only below shangyun/v1/<gateway id>/";
    QosUnsupported "qos_unsupported" Some(Code::QosNotSupported), "publish with QoS 1";
    RetainUnsupported "retain_unsupported" Some(Code::RetainNotSupported), "nothing that a gateway sends is retained";
    TopicAlias "topic_alias" Some(Code::TopicAliasInvalid), "topic aliases are not taken";
    ReceiveMaximum "receive_maximum" Some(Code::ReceiveMaximumExceeded), "more publishes wait for their PUBACK than CONNACK allows";
    KeepAlive "keep_alive" Some(Code::KeepAliveTimeout), "nothing came for one and a half times the keep alive";
    /// A packet was begun and not finished in time.
    Stalled "stalled" Some(Code::KeepAliveTimeout), "a packet was begun and not finished in time";
    TakenOver "taken_over" Some(Code::SessionTakenOver), "another connection has come with this client id";
    SlowReader "slow_reader" Some(Code::QuotaExceeded), "answers are not taken";
    GatewayRemoved "gateway_removed" Some(Code::NotAuthorized), "the gateway's entry in the register has changed; connect anew";
    CertificateLost "certificate_lost" Some(Code::NotAuthorized), "the certificate has expired or was revoked";
    Unavailable "unavailable" Some(Code::ServerBusy), "no reports are taken now; try again";
    ShuttingDown "shutting_down" Some(Code::ServerShuttingDown), "the service stops; try again";
}
