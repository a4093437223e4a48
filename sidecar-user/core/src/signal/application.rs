//! What the observed application costs, under its metric names. Readings are whole each time: what is not read now is
//! not shown now.

use super::{
    Steering, Store, catalogue, key,
    series::overflow,
    snapshot::{Attributes, Point, PointValue},
    steering,
};
use crate::model::MetricDef;

/// Where a figure was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the cgroup in the unified hierarchy.
    CgroupV2,
    /// A file of the cgroup that holds the same processes in an older hierarchy.
    CgroupV1,
    /// The sum over the cgroup's processes.
    Processes,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Source::CgroupV2 => "cgroup_v2",
            Source::CgroupV1 => "cgroup_v1",
            Source::Processes => "processes",
        }
    }
}

/// Processor time, s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// In user mode.
    pub user_s: f64,
    /// In the kernel.
    pub system_s: f64,
}

/// One container's figures (a cgroup's, where it is none); absent where they cannot be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Application {
    /// Tells it from others; `None` where there is only one.
    pub container: Option<String>,
    /// Processor time.
    pub cpu: Option<(Source, Cpu)>,
    /// Bytes of memory.
    pub memory: Option<(Source, u64)>,
    /// Threads.
    pub threads: Option<(Source, u64)>,
    /// Open file descriptors.
    pub files: Option<(Source, u64)>,
    /// Processes that were read.
    pub n_read: u64,
    /// Processes that were not: of another PID namespace, or beyond the cap.
    pub n_skipped: u64,
    /// Its processes, one entry for each name of an executable; empty where not all could be read.
    pub programs: Vec<Program>,
}

/// Processes of one executable, summed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Name of the executable; `None`: those that found no room for a name of their own.
    pub name: Option<String>,
    /// Processor time since they were first seen.
    pub cpu: Cpu,
    /// Resident memory, bytes: what processes share is counted in each.
    pub memory: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors, where the kernel tells.
    pub files: Option<u64>,
}

/// Everything about the application that is read when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// What it costs, by container.
    pub all: Vec<Application>,
    /// The cgroups that it is observed by.
    pub cgroups: Cgroups,
    /// New settings that were applied, and that were refused.
    pub reloads: (u64, u64),
    /// What became of connections, where they are steered.
    pub steering: Option<Steering>,
}

/// Cgroups that come and go: containers that start again, units that are restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// The programs are on now.
    pub attached: u64,
    /// Wanted now, and not reached.
    pub unreachable: u64,
    /// Attached to since the start.
    pub n_attached: u64,
    /// Removed while they were observed.
    pub n_gone: u64,
    /// That the kernel or the bound refused.
    pub n_refused: u64,
}

/// Puts the readings into the store, in the place of those before.
pub fn record(store: &mut Store, readings: &Readings) {
    steering::record(store, readings.steering.as_ref());
    let Cgroups { attached, unreachable, n_attached, n_gone, n_refused } = readings.cgroups;
    for (state, n) in [("attached", attached), ("unreachable", unreachable)] {
        store.set(&catalogue::CGROUPS, &[state], n);
    }
    for (change, n) in [("attached", n_attached), ("gone", n_gone), ("refused", n_refused)] {
        store.set(&catalogue::CGROUP_CHANGES, &[change], n);
    }
    let (applied, refused) = readings.reloads;
    for (state, n) in [("applied", applied), ("refused", refused)] {
        store.set(&catalogue::CONFIG_RELOADS, &[state], n);
    }
    costs(store, &readings.all);
}

fn costs(store: &mut Store, all: &[Application]) {
    let mut points = Points::default();
    for one in all {
        let container = one.container.as_deref();
        let mut source = |resource, source: Source| {
            points.add(&catalogue::APP_SOURCE, &[resource, source.name()], container, PointValue::U64(1));
        };
        let sources = [
            ("cpu", one.cpu.map(|(source, _)| source)),
            ("memory", one.memory.map(|(source, _)| source)),
            ("threads", one.threads.map(|(source, _)| source)),
            ("file_descriptors", one.files.map(|(source, _)| source)),
        ];
        for (resource, from) in sources {
            if let Some(from) = from {
                source(resource, from);
            }
        }
        if let Some((_, cpu)) = one.cpu {
            points.add(&catalogue::APP_CPU_TIME, &["user"], container, PointValue::F64(cpu.user_s));
            points.add(&catalogue::APP_CPU_TIME, &["system"], container, PointValue::F64(cpu.system_s));
        }
        let plain = [
            (&catalogue::APP_MEMORY, one.memory),
            (&catalogue::APP_THREADS, one.threads),
            (&catalogue::APP_FILES, one.files),
        ];
        for (def, value) in plain {
            if let Some((_, value)) = value {
                points.add(def, &[], container, PointValue::U64(value));
            }
        }
        for (state, n) in [("read", one.n_read), ("skipped", one.n_skipped)] {
            points.add(&catalogue::APP_PROCESSES, &[state], container, PointValue::U64(n));
        }
        for program in &one.programs {
            points.program(program, container);
        }
    }
    for def in ALL {
        let of_def = points.0.iter().filter(|(known, _)| std::ptr::eq(*known, *def));
        store.replace(def, of_def.map(|(_, point)| point.clone()).collect());
    }
}

/// What [`costs`] replaces.
const ALL: &[&MetricDef] = &[
    &catalogue::APP_SOURCE,
    &catalogue::APP_CPU_TIME,
    &catalogue::APP_MEMORY,
    &catalogue::APP_THREADS,
    &catalogue::APP_FILES,
    &catalogue::APP_PROCESSES,
    &catalogue::PROCESS_CPU_TIME,
    &catalogue::PROCESS_MEMORY,
    &catalogue::PROCESS_THREADS,
    &catalogue::PROCESS_FILES,
];

#[derive(Default)]
struct Points(Vec<(&'static MetricDef, Point)>);

impl Points {
    /// `values` are those of the definition's first attributes.
    fn add(
        &mut self,
        def: &'static MetricDef,
        values: &[&'static str],
        container: Option<&str>,
        value: PointValue,
    ) {
        let attributes = def.attributes.iter().zip(values).map(|(key, value)| (*key, (*value).into()));
        let mut attributes: Attributes = attributes.collect();
        attributes.extend(container.map(|name| (key::CONTAINER_NAME, name.to_owned().into())));
        self.0.push((def, Point { attributes, started: None, value }));
    }

    fn program(&mut self, program: &Program, container: Option<&str>) {
        let whole = |value| PointValue::U64(value);
        let values = [
            (&catalogue::PROCESS_CPU_TIME, Some("user"), Some(PointValue::F64(program.cpu.user_s))),
            (&catalogue::PROCESS_CPU_TIME, Some("system"), Some(PointValue::F64(program.cpu.system_s))),
            (&catalogue::PROCESS_MEMORY, None, Some(whole(program.memory))),
            (&catalogue::PROCESS_THREADS, None, Some(whole(program.threads))),
            (&catalogue::PROCESS_FILES, None, program.files.map(whole)),
        ];
        for (def, mode, value) in values {
            let Some(value) = value else { continue };
            let mut attributes: Attributes =
                mode.map(|mode| (key::CPU_MODE, mode.into())).into_iter().collect();
            match &program.name {
                Some(name) => attributes.push((key::EXECUTABLE_NAME, name.clone().into())),
                None => attributes.extend(overflow()),
            }
            attributes.extend(container.map(|name| (key::CONTAINER_NAME, name.to_owned().into())));
            self.0.push((def, Point { attributes, started: None, value }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Moment, Options};

    /// `name{values} value` of every point of these metrics.
    fn shown(store: &mut Store) -> Vec<String> {
        let snapshot = store.snapshot(Moment::default());
        let families =
            snapshot.families.iter().filter(|family| ALL.iter().any(|def| def.name == family.def.name));
        let mut lines = Vec::new();
        for family in families {
            for point in &family.points {
                let values: Vec<_> = point.attributes.iter().map(|(_, value)| value.to_string()).collect();
                let value = match point.value {
                    PointValue::U64(value) => value.to_string(),
                    PointValue::F64(value) => value.to_string(),
                    _ => "?".to_owned(),
                };
                lines.push(format!("{}{{{}}} {value}", family.def.name, values.join(",")));
            }
        }
        lines
    }

    #[test]
    fn what_is_not_read_is_not_shown() {
        let mut store = Store::new(Options::default());
        let program = Program {
            name: Some("shop".into()),
            cpu: Cpu { user_s: 1.0, system_s: 0.5 },
            memory: 4096,
            threads: 3,
            files: None,
        };
        let one = Application {
            cpu: Some((Source::CgroupV2, Cpu { user_s: 2.0, system_s: 1.0 })),
            threads: Some((Source::Processes, 3)),
            n_read: 1,
            programs: vec![program],
            ..Application::default()
        };
        costs(&mut store, std::slice::from_ref(&one));
        let expected = [
            "sidecar.app.source{cpu,cgroup_v2} 1",
            "sidecar.app.source{threads,processes} 1",
            "container.cpu.time{system} 1",
            "container.cpu.time{user} 2",
            "sidecar.app.threads{} 3",
            "sidecar.app.processes{read} 1",
            "sidecar.app.processes{skipped} 0",
            "process.cpu.time{system,shop} 0.5",
            "process.cpu.time{user,shop} 1",
            "process.memory.usage{shop} 4096",
            "process.thread.count{shop} 3",
        ];
        assert_eq!(shown(&mut store), expected);
        // Two of them are told apart, and what is gone is gone.
        let named =
            |name: &str| Application { container: Some(name.into()), n_read: 1, ..Application::default() };
        costs(&mut store, &[named("a"), named("b")]);
        let expected = [
            "sidecar.app.processes{read,a} 1",
            "sidecar.app.processes{read,b} 1",
            "sidecar.app.processes{skipped,a} 0",
            "sidecar.app.processes{skipped,b} 0",
        ];
        assert_eq!(shown(&mut store), expected);
        costs(&mut store, &[]);
        assert_eq!(shown(&mut store), [] as [&str; 0]);
    }
}
