/** A made-up cluster of any size for the mock: the same seed gives the same nodes. */

const NAMES = ["client", "web", "api", "redis"];
const SERVICES = [
  "gateway",
  "orders",
  "users",
  "search",
  "billing",
  "mail",
  "images",
  "stock",
  "auth",
  "events",
];
/** Known services outside, with every other mark. */
const SERVICES_OUTSIDE = [
  ["db.example.net", "database", "Example Cloud"],
  ["Example Storage", "storage", "Example Cloud"],
  ["queue.example.net", "queue", "Example Cloud"],
  ["registry.example.com", "registry", "Example"],
  ["login.example.com", "identity", "Example"],
];
const STORES = ["postgres", "redis", "kafka", "minio", "mongo"];
const MIB = 1024 * 1024;

/** Mulberry32: small, seeded, good enough for a picture. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A container as the API summarises it. */
export function container(
  name,
  { image = name, host = "tokyo", adjacency = [], id, state = "Running" } = {},
) {
  const nodeId = id ?? `${hex(name)};<container>`;
  return {
    id: nodeId,
    label: name,
    labelMinor: host,
    rank: image,
    shape: "hexagon",
    adjacency,
    metadata: [
      { id: "docker_image_name", label: "Image name", value: `${image}:latest`, priority: 2 },
      {
        id: "docker_container_command",
        label: "Command",
        value: `/usr/bin/${image} --listen 0.0.0.0`,
        priority: 3,
      },
      { id: "docker_container_state_human", label: "State", value: state, priority: 4 },
      { id: "docker_container_uptime", label: "Uptime", value: "7384", priority: 5, dataType: "duration" },
      {
        id: "docker_container_restart_count",
        label: "Restart #",
        value: "0",
        priority: 6,
        dataType: "number",
      },
      { id: "docker_container_ips", label: "IPs", value: "172.20.0.4", priority: 7 },
      {
        id: "docker_container_created",
        label: "Created",
        value: "2026-11-22T06:14:03Z",
        priority: 8,
        dataType: "datetime",
      },
      { id: "docker_container_id", label: "ID", value: hex(name).repeat(8), priority: 10, truncate: 12 },
    ],
    parents: [
      { id: `${image};<container_image>`, label: image, topologyId: "containers-by-image" },
      { id: `${host};<host>`, label: host, topologyId: "hosts" },
    ],
    metrics: metrics(name, 0),
    tables: null,
    an_unknown_field: { from: "a newer peer" },
  };
}

/** CPU and memory of a container, with two minutes of history where `samples` are asked for. */
export function metrics(name, tick, samples = false) {
  const phase = [...name].reduce((sum, char) => sum + char.charCodeAt(0), 0);
  const cpuAt = (t) =>
    Math.max(0, 18 + 16 * Math.sin((t + phase) / 6) + 9 * Math.sin((t * 2.7 + phase) / 5) + (phase % 40));
  const memoryAt = (t) => (180 + (phase % 300) + 20 * Math.sin((t + phase) / 20)) * MIB;
  const history = (at) =>
    samples
      ? Array.from({ length: 60 }, (_, i) => ({
          date: new Date(Date.now() - (59 - i) * 2000).toISOString(),
          value: at(tick - 59 + i),
        }))
      : null;
  return [
    {
      id: "docker_cpu_total_usage",
      label: "CPU",
      format: "percent",
      value: cpuAt(tick),
      max: 100,
      priority: 1,
      samples: history(cpuAt),
    },
    {
      id: "docker_memory_usage",
      label: "Memory",
      format: "filesize",
      value: memoryAt(tick),
      max: 1024 * MIB,
      priority: 2,
      samples: history(memoryAt),
    },
  ];
}

/** The chain most people see first, and what is around it. */
export function chain() {
  const nodes = NAMES.map((name) =>
    container(name, { image: { client: "alpine", web: "nginx", api: "node", redis: "redis" }[name] }),
  );
  nodes.forEach((node, i) => (node.adjacency = nodes[i + 1] ? [nodes[i + 1].id] : []));
  return nodes;
}

/** About `count` containers: apps of some twenty nodes in tiers, shared stores, and some that talk to nobody. */
export function cluster(count, seed = 7) {
  if (count <= NAMES.length) return chain().slice(0, count);
  const roll = random(seed);
  const nodes = [internet(), ...services()];
  for (let app = 0; nodes.length < count * 0.86; app++)
    addApp(nodes, app, Math.min(count - nodes.length, 8 + Math.floor(roll() * 16)), roll);
  for (let i = nodes.length; i < count; i++)
    nodes.push(container(`batch-${i}`, { image: "batch", host: host(i) }));
  return nodes;
}

function addApp(nodes, app, size, roll) {
  const tiers = [[], [], []];
  for (let i = 0; i < size; i++) {
    const tier = i === 0 ? 0 : i > size * 0.7 ? 2 : 1;
    const image =
      tier === 0
        ? "nginx"
        : tier === 2
          ? STORES[(app + i) % STORES.length]
          : SERVICES[(app + i) % SERVICES.length];
    const node = container(`${image}-${app}-${i}`, { image, host: host(app + i) });
    const above = tier === 0 ? [] : tiers[tier - 1].length > 0 ? tiers[tier - 1] : tiers[0];
    if (tier === 0 && roll() < 0.5) nodes[0].adjacency.push(node.id);
    if (above.length > 0) above[Math.floor(roll() * above.length)].adjacency.push(node.id);
    if (tier === 1 && i % 9 === 1) node.adjacency.push(nodes[1 + (app % SERVICES_OUTSIDE.length)].id);
    if (tier === 2 && roll() < 0.5) tiers[1][Math.floor(roll() * tiers[1].length)]?.adjacency.push(node.id);
    tiers[tier].push(node);
    nodes.push(node);
  }
}

function internet() {
  return {
    id: "in-theinternet",
    label: "The Internet",
    labelMinor: "Inbound connections",
    rank: "in-theinternet",
    shape: "cloud",
    pseudo: true,
    adjacency: [],
  };
}

function services() {
  return SERVICES_OUTSIDE.map(([label, icon, group]) => ({
    id: `service-${label}`,
    label,
    labelMinor: group,
    rank: label,
    shape: "cloud",
    icon,
    pseudo: true,
    adjacency: [],
  }));
}

/** Figures of an edge that follow from its ends: from nothing to a thousand connections and 60 MB/s. */
export function edgeFigures(source, target) {
  const share = (salt) => parseInt(hex(`${source}>${target}${salt}`), 16) / 2 ** 32;
  return {
    open: Math.floor(10 ** (3.6 * share("open"))),
    sent: Math.floor(2 ** (26 * share("sent"))),
    received: Math.floor(2 ** (26 * share("received"))),
    confirmed: share("confirmed") > 0.2,
    fading: share("fading") < 0.1,
  };
}

export function hostNode(name) {
  return {
    id: `${name};<host>`,
    label: name,
    labelMinor: "example.net",
    rank: "example.net",
    shape: "circle",
    metadata: [
      { id: "kernel_version", label: "Kernel version", value: "6.12.9", priority: 1 },
      { id: "uptime", label: "Uptime", value: "345600", priority: 2, dataType: "duration" },
    ],
    metrics: [{ id: "load1", label: "Load (1m)", format: "", group: "load", value: 0.42, priority: 11 }],
    adjacency: null,
  };
}

const host = (i) => ["tokyo", "osaka", "kyoto", "nagoya"][i % 4];

/** Eight hexadecimal digits from a name. */
function hex(name) {
  let value = 0x811c9dc5;
  for (const char of name) value = Math.imul(value ^ char.codePointAt(0), 0x01000193);
  return (value >>> 0).toString(16).padStart(8, "0");
}
