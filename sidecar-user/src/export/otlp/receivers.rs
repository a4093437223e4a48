//! Where each signal is pushed, and how that changes while an exporter runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sidecar_core::config::{File, Otlp, Target};
use tokio::sync::watch;

use super::wire::{Error, Wire};
use crate::config::file::Reader;
use crate::export::Signal;

/// Where to push, checked: the certificates and keys are read.
#[derive(Clone, Default)]
pub(crate) struct Receivers {
    pub(super) metrics: Option<Receiver>,
    pub(super) traces: Option<Receiver>,
}

/// Where one signal is pushed.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) wire: Wire,
    pub(super) basis: Basis,
}

/// What a way to a receiver is made of: where these are the same, so is the way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Basis {
    target: Target,
    /// Digests of the files' contents, by key.
    contents: BTreeMap<String, u64>,
}

impl Receivers {
    /// Reads the files that the settings name. Connects to nobody: that is done at the first push.
    pub(crate) fn open(settings: &Otlp, reader: &mut Reader) -> Result<Self, Error> {
        let mut open = |target: Option<Target>, signal| {
            target.map(|target| Receiver::open(target, signal, reader)).transpose()
        };
        Ok(Receivers {
            metrics: open(settings.to_metrics(), Signal::Metrics)?,
            traces: open(settings.to_traces(), Signal::Traces)?,
        })
    }

    /// Whether there is anybody to push to.
    pub(crate) fn is_empty(&self) -> bool {
        self.metrics.is_none() && self.traces.is_none()
    }
}

impl Receiver {
    fn open(target: Target, signal: Signal, reader: &mut Reader) -> Result<Self, Error> {
        let wire = Wire::new(&target, signal, reader)?;
        let files =
            target.tls.iter().flat_map(|tls| [&tls.certificate, &tls.client_certificate, &tls.client_key]);
        let digest = |File { key, path }: &File| (key.clone(), reader.look([path]).content);
        let contents = files.flatten().map(digest).collect();
        Ok(Receiver { wire, basis: Basis { target, contents } })
    }
}

/// What one signal's part of an exporter goes by.
#[derive(Clone)]
pub(super) struct Plan {
    /// `None`: nowhere to push to.
    pub(super) receiver: Option<Receiver>,
    /// Between two pushes, where they are by the clock.
    pub(super) interval: Duration,
}

impl Plan {
    pub(super) fn basis(&self) -> Option<&Basis> {
        self.receiver.as_ref().map(|receiver| &receiver.basis)
    }
}

/// Changes where a running exporter pushes to: what is being sent ends where it began, every try that begins later goes to
/// the new receiver.
pub(crate) struct Switch {
    metrics: watch::Sender<Plan>,
    traces: watch::Sender<Plan>,
    now: Mutex<Receivers>,
}

impl Switch {
    pub(super) fn new(receivers: Receivers, interval: Duration) -> Self {
        let plan =
            |receiver: &Option<Receiver>| watch::Sender::new(Plan { receiver: receiver.clone(), interval });
        Switch {
            metrics: plan(&receivers.metrics),
            traces: plan(&receivers.traces),
            now: Mutex::new(receivers),
        }
    }

    pub(super) fn plan(&self, signal: Signal) -> watch::Receiver<Plan> {
        match signal {
            Signal::Metrics => self.metrics.subscribe(),
            Signal::Traces => self.traces.subscribe(),
        }
    }

    /// Keys whose files have another content than those that are used.
    pub(crate) fn renewed(&self, new: &Receivers) -> Vec<String> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = [(&now.metrics, &new.metrics), (&now.traces, &new.traces)];
        let pairs =
            pairs.into_iter().filter_map(|(now, new)| Some((&now.as_ref()?.basis, &new.as_ref()?.basis)));
        let differ = pairs.flat_map(|(now, new)| {
            let differs =
                |(key, content): &(&String, &u64)| now.contents.get(*key).is_some_and(|now| now != *content);
            new.contents.iter().filter(differs).map(|(key, _)| key.clone())
        });
        let mut keys: Vec<String> = differ.collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Before anything more is made for the signals that have a receiver: they are pushed there.
    pub(crate) fn open(&self, new: &Receivers, interval: Duration) {
        self.set(new, interval, |receiver| receiver.is_some());
    }

    /// Once nothing more is made for the signals that have none: what still waits is dropped and counted.
    pub(crate) fn close(&self, new: Receivers, interval: Duration) {
        self.set(&new, interval, |receiver| receiver.is_none());
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn set(&self, new: &Receivers, interval: Duration, is_meant: impl Fn(&Option<Receiver>) -> bool) {
        for (plan, receiver) in [(&self.metrics, &new.metrics), (&self.traces, &new.traces)] {
            let next = Plan { receiver: receiver.clone(), interval };
            plan.send_if_modified(|now| {
                let differs = is_meant(receiver) && (now.interval != interval || now.basis() != next.basis());
                if differs {
                    *now = next;
                }
                differs
            });
        }
    }
}
