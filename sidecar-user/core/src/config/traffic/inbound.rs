//! Connections that come in to the application's ports, as a person writes what becomes of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GearSetting, LimitSettings, WhenGoneSetting};
use crate::{
    config::value::Peers,
    model::{
        Network,
        policy::{Except, Service},
    },
};

/// Ports of the application, and what becomes of connections to them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct InboundSettings {
    /// What it is called in metrics, and by `explain`. No two have the same, nor has a service.
    pub name: String,
    /// Ports that it is for.
    pub ports: Vec<u16>,
    /// From whom: networks (`10.1.0.0/16`) or addresses. Without any: from everybody.
    #[serde(default)]
    pub from: Vec<Peers>,
    /// Of these, networks or addresses whose connections go to the application as they are.
    #[serde(default)]
    pub except: Vec<Peers>,
    /// How connections are carried: to the application as they are, through the relay, or not at all.
    #[serde(default = "through_the_relay")]
    pub gear: GearSetting,
    /// How many connections there may be through the relay. Those beyond are closed. A place is free again once both the client's and
    /// the application's side are closed.
    #[serde(default)]
    pub limits: LimitSettings,
    /// What becomes of connections through the relay while the daemon hangs: the application gets them, or they are refused.
    #[serde(default)]
    pub when_gone: WhenGoneSetting,
    /// Says that you know: what is denied or `closed` holds while the daemon runs, and not after its end, `pin` or not.
    #[serde(default)]
    pub while_running: bool,
}

fn through_the_relay() -> GearSetting {
    GearSetting::Proxy
}

impl InboundSettings {
    /// What is wrong with it by itself.
    pub(super) fn faults(&self) -> Vec<String> {
        let relays = self.gear == GearSetting::Proxy;
        let is_closed = self.when_gone == WhenGoneSetting::Closed;
        let holds = self.gear == GearSetting::Deny || is_closed;
        let limits = self.limits;
        let wrong = [
            (self.ports.is_empty(), "`ports` is empty: say which of the application's ports are meant"),
            (self.ports.len() > 64, "it has more than 64 `ports`"),
            (self.ports.contains(&0), "0 is no port"),
            (self.from.len() > 256, "it is `from` more than 256 networks"),
            (self.except.len() > 256, "it excepts more than 256 networks"),
            (
                !relays && limits != LimitSettings::default(),
                "`limits` are the relay's: they are for `gear: proxy`",
            ),
            (is_closed && !relays, "`when_gone` is for `gear: proxy`: nothing else needs the daemon"),
            (
                holds && !self.while_running,
                "what it refuses, it refuses while the daemon runs only: say `while_running: true` if that is enough",
            ),
            (!holds && self.while_running, "`while_running` says something of what is denied or closed only"),
        ];
        let wrong = wrong.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, why)| why.to_owned());
        wrong.chain(limits.faults()).collect()
    }

    pub(super) fn service(&self) -> Service {
        let networks = |peers: &[Peers]| peers.iter().map(|peers| peers.0).collect::<Vec<_>>();
        Service {
            networks: if self.from.is_empty() { Network::ALL.to_vec() } else { networks(&self.from) },
            ports: self.ports.clone(),
            except: Except { networks: networks(&self.except), ..Except::default() },
            gear: self.gear.into(),
            limits: self.limits.into(),
            when_gone: self.when_gone.into(),
            ..Service::named(&self.name)
        }
    }
}
