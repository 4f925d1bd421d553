//! Synthetic clusters, for benches and properties: hosts with as many facts as a busy Docker host has, talking within and
//! across hosts. Equal arguments give equal clusters.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::fact::{
    Container, Direction, Fact, Flow, FlowKey, Host, Image, Listener, ListenerKey, Network, Owner, Port, Process,
    Protocol,
};
use crate::gauges::{ContainerGauges, FlowGauges, Gauges, HostGauges, ProcessGauges};
use crate::graph::Change;
use crate::id::{ContainerId, ImageId, Netns, PeerId, ProcessId, Timestamp};

/// Facts of one host but its gauges and status.
pub const FACTS_PER_HOST: usize = 511;

const PROCESSES: u32 = 110;
const IMAGES: u32 = 10;
const ROOT_NETNS: Netns = Netns(4_026_531_840);

/// A made-up host of a cluster of `hosts`.
#[derive(Clone, Copy, Debug)]
pub struct SyntheticHost {
    number: u32,
    hosts: u32,
}

fn ip(a: u8, b: u8, c: u8, d: u32) -> IpAddr {
    let d = u8::try_from(d % 251).expect("less than 251");
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn byte(number: u32) -> u8 {
    u8::try_from(number % 256).expect("less than 256")
}

impl SyntheticHost {
    /// Host `number` of `hosts`, which must be at least one.
    #[must_use]
    pub fn new(number: u32, hosts: u32) -> Self {
        Self { number, hosts: hosts.max(1) }
    }

    /// The peer on it.
    ///
    /// # Panics
    /// Never: the id is well-formed.
    #[must_use]
    pub fn peer(self) -> PeerId {
        PeerId::new(&format!("12D3KooW{:044}", self.number)).expect("digits make an id")
    }

    fn containers(self) -> u32 {
        4 + self.number * 7 % 27
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, byte(number / 250), byte(number % 250 + 1)))
    }

    fn container_id(self, number: u32) -> ContainerId {
        ContainerId::new(&format!("{:08x}{number:08x}{:048x}", self.number, 7)).expect("hexadecimal digits make an id")
    }

    fn container_address(number: u32) -> IpAddr {
        ip(172, 17, 0, number + 2)
    }

    fn process_id(number: u32) -> ProcessId {
        ProcessId { pid: 100 + number, start: 5000 + u64::from(number) }
    }

    /// Two processes a container, the rest on the host.
    fn container_of(self, process: u32) -> Option<u32> {
        (process < 2 * self.containers()).then_some(process / 2)
    }

    fn netns(self, process: u32) -> Netns {
        self.container_of(process).map_or(ROOT_NETNS, |container| Netns(4_026_532_000 + u64::from(container)))
    }

    /// All its facts, [`FACTS_PER_HOST`] of them.
    #[must_use]
    pub fn facts(self) -> Vec<Fact> {
        let mut facts = vec![Fact::Host(self.host())];
        facts.extend((0..IMAGES).map(|number| Fact::Image(self.image(number))));
        facts.extend((0..self.containers()).map(|number| Fact::Container(self.container(number))));
        facts.extend((0..PROCESSES).map(|number| Fact::Process(self.process(number))));
        facts.extend((0..PROCESSES / 2).map(|number| Fact::Listener(self.listener(number * 2))));
        let flows = FACTS_PER_HOST - facts.len();
        facts.extend((0..u32::try_from(flows).expect("a few hundred")).map(|serial| Fact::Flow(self.flow(serial))));
        facts
    }

    /// The changes that tell of it.
    #[must_use]
    pub fn changes(self) -> Vec<Change> {
        self.facts().into_iter().map(Change::put).collect()
    }

    /// What changes from one `step` to the next on a busy host: about 5 % of its facts. Processes come and go, one container
    /// changes its state, flows open and close.
    #[must_use]
    pub fn churn(self, step: u32) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut container = self.container(step % self.containers());
        container.restart_count = u64::from(step);
        changes.push(Change::put(Fact::Container(container)));
        for number in 0..6 {
            let id = |step: u32| ProcessId { pid: 40_000 + (step * 6 + number) % 20_000, start: u64::from(step) };
            let mut process = Process::new(id(step));
            process.name = format!("job-{number}");
            process.netns = Some(ROOT_NETNS);
            changes.push(Change::put(Fact::Process(process)));
            changes.extend(step.checked_sub(1).map(|step| Change::Remove(crate::Key::Process(id(step)))));
        }
        for serial in 0..13 {
            let mut flow = self.flow(serial * 11);
            flow.open = step.is_multiple_of(2);
            changes.push(Change::put(Fact::Flow(flow)));
        }
        changes
    }

    /// Current values of everything on it.
    #[must_use]
    pub fn gauges(self, at: Timestamp) -> Vec<Gauges> {
        let seconds = u32::try_from(at.0 / 1000 % 100).expect("less than 100");
        let processes = 0..PROCESSES;
        let containers = 0..self.containers();
        vec![
            Gauges::Host(HostGauges {
                at,
                cpu: 100 * seconds,
                memory_kib: 4 << 20,
                load1: 150,
                ..HostGauges::default()
            }),
            Gauges::Containers(ContainerGauges {
                at,
                containers: containers.clone().map(|number| self.container_id(number).prefix()).collect(),
                cpu: containers.clone().map(|number| number * seconds).collect(),
                memory_kib: containers.clone().map(|number| 1024 * u64::from(number + seconds)).collect(),
                memory_max_kib: containers.map(|_| 16 << 20).collect(),
            }),
            Gauges::Processes(ProcessGauges {
                at,
                pids: processes.clone().map(|number| Self::process_id(number).pid).collect(),
                cpu: processes.clone().map(|number| number * seconds).collect(),
                memory_kib: processes.clone().map(|number| 512 * u64::from(number + seconds)).collect(),
                open_files: processes.collect(),
            }),
            Gauges::Flows(FlowGauges {
                at,
                serials: (0..300).collect(),
                open: (0..300).collect(),
                ..FlowGauges::default()
            }),
        ]
    }

    fn host(self) -> Host {
        let network = |interface: &str, address, prefix| Network { interface: interface.into(), address, prefix };
        Host {
            name: format!("host-{}.example.org", self.number),
            os: "Debian GNU/Linux 12 (bookworm)".into(),
            kernel: "6.1.0-28-amd64 #1 SMP Debian 6.1.119-1".into(),
            scope_version: "0.1.0".into(),
            booted_at: Timestamp(1_790_000_000_000),
            cpus: 8,
            memory_bytes: 32 << 30,
            netns: Some(ROOT_NETNS),
            networks: vec![network("eth0", Self::address(self.number), 16), network("docker0", ip(172, 17, 0, 1), 16)],
        }
    }

    fn image(self, number: u32) -> Image {
        Image {
            id: ImageId::new(&format!("{number:064x}")).expect("hexadecimal digits make an id"),
            tags: vec![format!("example.org/team/image-{number}:1.{number}")],
            size_bytes: 80 << 20,
            labels: [("maintainer".to_owned(), "team@example.org".to_owned())].into(),
        }
    }

    fn container(self, number: u32) -> Container {
        let image = self.image(number % IMAGES);
        let label = |name: &str, value: String| (format!("com.example.{name}"), value);
        Container {
            name: format!("service-{number}"),
            image: image.tags[0].clone(),
            image_id: Some(image.id),
            command: "/usr/bin/service --listen :8000 --workers 2".into(),
            created_at: Timestamp(1_790_000_100_000),
            started_at: Some(Timestamp(1_790_000_101_000)),
            hostname: format!("service-{number}"),
            network_mode: "bridge".into(),
            networks: [("bridge".to_owned(), vec![Self::container_address(number)])].into(),
            ports: vec![Port {
                container_port: 8000,
                protocol: Protocol::Tcp,
                published: Some(SocketAddr::from(([0, 0, 0, 0], Self::published(number)))),
            }],
            labels: [
                label("project", format!("project-{}", number % 3)),
                label("service", format!("service-{number}")),
                label("version", "1.0".into()),
            ]
            .into(),
            env: [("PATH".to_owned(), Some("/usr/bin:/bin".to_owned())), ("API_TOKEN".to_owned(), None)].into(),
            runtime: "docker".into(),
            init_pid: Some(Self::process_id(number * 2).pid),
            ..Container::new(self.container_id(number))
        }
    }

    fn published(container: u32) -> u16 {
        20_000 + u16::try_from(container).expect("at most 30")
    }

    fn process(self, number: u32) -> Process {
        Process {
            name: format!("worker-{}", number % 20),
            command_line: format!("/usr/bin/worker-{} --id {number} --config /etc/worker.yaml", number % 20),
            parent: 1,
            container: self.container_of(number).map(|container| self.container_id(container)),
            user: "www-data".into(),
            threads: 4,
            netns: Some(self.netns(number)),
            open_files_max: Some(1024),
            ..Process::new(Self::process_id(number))
        }
    }

    /// Port 8000 in a container, one of its own on the host.
    fn port(self, process: u32) -> u16 {
        if self.container_of(process).is_some() { 8000 } else { 9000 + u16::try_from(process).expect("at most 110") }
    }

    fn listener(self, process: u32) -> Listener {
        Listener {
            key: ListenerKey {
                netns: self.netns(process),
                protocol: Protocol::Tcp,
                address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                port: self.port(process),
            },
            v6_only: false,
            owners: vec![Self::process_id(process)],
        }
    }

    /// By turns: to a container of this host, to a published port of the next host, accepted from a neighbour, and to an
    /// address outside.
    fn flow(self, serial: u32) -> Flow {
        let process = serial % PROCESSES;
        let server = (serial / PROCESSES + process) % self.containers();
        let neighbour = (self.number + 1 + serial / 40) % self.hosts;
        let (direction, remote, port) = match serial % 4 {
            0 => (Direction::Outgoing, Self::container_address(server), 8000),
            1 => (Direction::Outgoing, Self::address(neighbour), Self::published(serial / 4 % 4)),
            2 => (Direction::Incoming, Self::address(neighbour), self.port(process)),
            _ => (Direction::Outgoing, ip(203, 0, 113, serial), 443),
        };
        let owner = Owner::Process(Self::process_id(process));
        let key = FlowKey { owner, direction, protocol: Protocol::Tcp, remote, port };
        Flow::new(key, serial, self.netns(process), Timestamp(1_790_000_200_000))
    }
}
