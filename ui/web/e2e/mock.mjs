/**
 * A peer that makes its cluster up: serves `dist` under the real content policy, and the API with a synthetic map.
 * For page tests, and for development: `node e2e/mock.mjs --nodes 40 --port 4040`, then `npm run dev`.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { cluster, container, edgeFigures, hostNode, metrics } from "./synthetic.mjs";

const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const POLICY = "default-src 'self'; connect-src 'self' ws: wss:";
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

export class Mock {
  constructor({ nodes = 4, prefix = "/", probes } = {}) {
    this.prefix = prefix;
    this.nodes = new Map(cluster(nodes).map((node) => [node.id, node]));
    this.stopped = container("old-job", { image: "batch", state: "Exited (1)" });
    this.probes = probes ?? [probe("tokyo", "ok", "")];
    this.mesh = { open: false, listen: ["0.0.0.0:4030", "[::]:4030"], epoch: 3, version: 41, problems: [] };
    this.discovery = [];
    this.peers = [peer("tokyo", { isSelf: true })];
    /** How far its clock is ahead of the browser's, in milliseconds. */
    this.aheadMs = 0;
    this.tick = 0;
    /** What edges have instead of made-up figures, by "source label>target label"; `null` hides one. */
    this.figures = new Map();
    /** Whether it tells figures of edges; an older peer does not. */
    this.tellsEdges = true;
    /** Statuses of its answers about all edges. */
    this.edgeAnswers = [];
    this.clients = new Set();
  }

  now() {
    return Date.now() + this.aheadMs;
  }

  /** A host is not heard of any more, or is again: its peer and all that is on it. */
  setLife(host, life, agoMs = 0) {
    for (const one of this.peers)
      if (one.host === host) Object.assign(one, { life, heardAt: this.now() - agoMs });
    const stale =
      life === "live" ? undefined : { state: life, since: new Date(this.now() - agoMs).toISOString() };
    const nodes = [...this.nodes.values()].filter((node) => node.labelMinor === host);
    this.update(...nodes.map((node) => ({ ...node, stale, metrics: this.metricsOf({ ...node, stale }) })));
  }

  /** A cluster of five hosts of which two are on the other side of a cut. */
  cut() {
    this.mesh.open = true;
    this.discovery = [{ name: "scope.weave.local", state: "no such name", addresses: [] }];
    this.peers = [
      peer("tokyo", { isSelf: true }),
      peer("osaka", { link: link("192.0.2.11:4030") }),
      peer("kobe", { lag: 2 }),
      peer("kyoto"),
      peer("nagoya"),
    ];
    this.probes = this.peers.map(({ host }) => probe(host, "ok", ""));
    this.setLife("kyoto", "suspect", 9000);
    this.setLife("nagoya", "gone", 185_000);
  }

  lives() {
    const of = (life) => this.peers.filter((one) => one.life === life).length;
    return { live: of("live"), suspect: of("suspect"), gone: of("gone") };
  }

  peersAnswer() {
    const { mesh, discovery } = this;
    const told = ({ heardAt, ...one }) => ({
      ...one,
      lastHeardMs: one.isSelf || one.life === "live" ? 0 : this.now() - heardAt,
    });
    return { time: new Date(this.now()).toISOString(), mesh, discovery, peers: this.peers.map(told) };
  }

  /** Starts on a port (0: any free one) and returns the page's address. */
  async listen(port = 0) {
    this.server = createServer((request, response) => this.answer(request, response));
    this.sockets = new WebSocketServer({ noServer: true });
    this.server.on("upgrade", (request, socket, head) => {
      this.sockets.handleUpgrade(request, socket, head, (ws) =>
        this.join(ws, new URL(request.url, "http://mock")),
      );
    });
    await new Promise((resolve, reject) =>
      this.server.once("error", reject).listen(port, "127.0.0.1", resolve),
    );
    this.timer = setInterval(() => this.beat(), 2000);
    this.port = this.server.address().port;
    return `http://127.0.0.1:${this.port}${this.prefix}`;
  }

  /** Ends as a killed peer does: every connection breaks. */
  async stop() {
    clearInterval(this.timer);
    for (const { ws } of this.clients) ws.terminate();
    this.clients.clear();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  add(...nodes) {
    for (const node of nodes) this.nodes.set(node.id, node);
    this.send({ add: nodes, update: null, remove: null });
  }

  update(...nodes) {
    for (const node of nodes) this.nodes.set(node.id, node);
    this.send({ add: null, update: nodes, remove: null });
  }

  remove(...ids) {
    for (const id of ids) this.nodes.delete(id);
    this.send({ add: null, update: null, remove: ids });
  }

  byName(label) {
    return [...this.nodes.values()].find((node) => node.label === label);
  }

  send(diff) {
    for (const client of this.clients)
      if (client.topology === "containers") client.ws.send(JSON.stringify(diff));
  }

  /** New metrics for a tenth of the nodes, as a quiet cluster has. */
  beat() {
    this.tick += 1;
    const changed = [];
    let i = 0;
    for (const node of this.nodes.values()) {
      if (i++ % 10 !== this.tick % 10 && this.nodes.size > 50) continue;
      if (node.pseudo || node.stale) continue;
      node.metrics = metrics(node.label, this.tick);
      changed.push(node);
    }
    if (changed.length > 0) this.send({ add: null, update: changed, remove: null });
  }

  join(ws, url) {
    const topology = url.pathname.split("/").at(-2);
    const client = { ws, topology };
    this.clients.add(client);
    ws.on("close", () => this.clients.delete(client));
    ws.send(
      JSON.stringify({ add: this.view(topology, url.searchParams), update: null, remove: null, reset: true }),
    );
  }

  view(topology, params) {
    if (topology === "hosts") return [hostNode("tokyo")];
    if (topology === "containers-by-image") return this.images();
    if (topology !== "containers") return [];
    const stopped = params.get("stopped");
    if (stopped === "stopped") return [this.stopped];
    return stopped === "both" ? [...this.nodes.values(), this.stopped] : [...this.nodes.values()];
  }

  images() {
    const images = new Map();
    for (const node of this.nodes.values()) {
      const id = `${node.rank};<container_image>`;
      images.set(id, {
        id,
        label: node.rank,
        labelMinor: "1 container",
        rank: node.rank,
        shape: "hexagon",
        stack: true,
        adjacency: [],
      });
    }
    return [...images.values()];
  }

  answer(request, response) {
    const url = new URL(request.url, "http://mock");
    if (!url.pathname.startsWith(this.prefix)) return notFound(response);
    const path = url.pathname.slice(this.prefix.length);
    if (path === "api")
      return json(response, {
        id: "12D3Koo",
        version: "0.1.0",
        hostname: "tokyo",
        plugins: [],
        capabilities: {},
        time: new Date(this.now()).toISOString(),
        peers: this.lives(),
        openMesh: this.mesh.open,
        meshProblems: this.mesh.problems.length,
      });
    if (path === "api/peers") return json(response, this.peersAnswer());
    if (path === "api/topology") return json(response, this.topologies());
    if (path === "api/probes") return json(response, this.probes);
    const all = /^api\/topology\/([^/]+)\/edges$/.exec(path);
    if (all && this.tellsEdges) return this.edges(request, response, all[1]);
    const edge = /^api\/edge\/([^/]+)\/([^/]+)$/.exec(path);
    if (edge) return this.edge(response, ...edge.slice(1).map(decodeURIComponent));
    const detail = /^api\/topology\/([^/]+)\/([^/]+)$/.exec(path);
    if (detail) return this.detail(response, detail[1], decodeURIComponent(detail[2]));
    return file(response, path === "" ? "index.html" : path);
  }

  figuresOf(source, target) {
    const own = this.figures.get(`${source.label}>${target.label}`);
    return own === null ? null : { ...edgeFigures(source.id, target.id), ...own };
  }

  edges(request, response, topology) {
    const told = [];
    for (const source of topology === "containers" ? this.nodes.values() : []) {
      for (const id of source.adjacency ?? []) {
        const target = this.nodes.get(id);
        const figures = target && this.figuresOf(source, target);
        if (figures) told.push({ source: source.id, target: id, ...figures });
      }
    }
    const body = JSON.stringify({ edges: told });
    const etag = `"${createHash("sha256").update(body).digest("hex").slice(0, 16)}"`;
    const known = request.headers["if-none-match"] === etag;
    this.edgeAnswers.push(known ? 304 : 200);
    response.writeHead(known ? 304 : 200, {
      "content-type": "application/json",
      "cache-control": "no-store",
      etag,
    });
    response.end(known ? undefined : body);
  }

  edge(response, sourceId, targetId) {
    const [source, target] = [this.nodes.get(sourceId), this.nodes.get(targetId)];
    const figures = source?.adjacency?.includes(targetId) && target && this.figuresOf(source, target);
    if (!figures) return notFound(response);
    const end = ({ id, label, labelMinor }) => ({ id, label, labelMinor });
    const seen = {
      firstSeen: new Date(this.now() - 7_384_000).toISOString(),
      lastSeen: new Date(this.now() - (figures.fading ? 12_000 : 0)).toISOString(),
      seenBy: ["sock_diag", "eBPF"],
    };
    json(response, {
      topology: "containers",
      source: end(source),
      target: end(target),
      ...figures,
      opened: 120,
      rttMicros: 180,
      retransmits: 2,
      ...seen,
      relations: Array.from({ length: 7 }, (_, i) => relation(source, target, i, figures, seen)),
    });
  }

  topologies() {
    const stats = (nodes) => ({
      node_count: nodes,
      nonpseudo_node_count: nodes,
      edge_count: 0,
      filtered_nodes: 0,
    });
    return [
      {
        name: "Processes",
        rank: 1,
        hide_if_empty: true,
        url: "/api/topology/processes",
        options: null,
        stats: stats(0),
      },
      {
        name: "Containers",
        rank: 2,
        hide_if_empty: false,
        url: "/api/topology/containers",
        options: [
          option("system", "application", [
            ["all", "All"],
            ["system", "System containers"],
            ["application", "Application containers"],
          ]),
          option("stopped", "running", [
            ["stopped", "Stopped containers"],
            ["running", "Running containers"],
            ["both", "Both"],
          ]),
        ],
        sub_topologies: [
          {
            name: "by DNS name",
            rank: 0,
            url: "/api/topology/containers-by-hostname",
            options: null,
            stats: stats(0),
          },
          {
            name: "by image",
            rank: 0,
            url: "/api/topology/containers-by-image",
            options: null,
            stats: stats(this.images().length),
          },
        ],
        stats: stats(this.nodes.size),
      },
      {
        name: "Hosts",
        rank: 4,
        hide_if_empty: false,
        url: "/api/topology/hosts",
        options: null,
        stats: stats(1),
      },
    ];
  }

  detail(response, topology, id) {
    if (topology === "hosts")
      return json(response, { node: { ...hostNode(id.split(";")[0]), children: [this.children()] } });
    if (topology === "containers-by-image") {
      const image = this.images().find((node) => node.id === id);
      return image ? json(response, { node: { ...image, children: [this.children()] } }) : notFound(response);
    }
    const node = this.nodes.get(id) ?? (id === this.stopped.id ? this.stopped : undefined);
    if (!node) return notFound(response);
    const clients = [...this.nodes.values()].filter((other) => other.adjacency?.includes(id));
    const servers = (node.adjacency ?? []).map((to) => this.nodes.get(to)).filter((to) => to !== undefined);
    json(response, {
      node: {
        ...node,
        metrics: node.pseudo ? [] : this.metricsOf(node),
        tables: [
          table("docker_label_", "Docker labels", 7),
          table("docker_env_", "Environment variables", 3),
        ],
        controls: [],
        children: [processes(node.label)],
        connections: [
          connections("incoming-connections", "Inbound", clients),
          connections("outgoing-connections", "Outbound", servers),
        ],
      },
    });
  }

  /** With samples; without current values where the host is silent. */
  metricsOf(node) {
    const all = metrics(node.label, this.tick, true);
    return node.stale ? all.map((metric) => ({ ...metric, value: 0, valueEmpty: true })) : all;
  }

  children() {
    const column = (id, label) => ({
      id,
      label,
      dataType: "number",
      defaultSort: id === "docker_cpu_total_usage",
    });
    return {
      topologyId: "containers",
      label: "Containers",
      columns: [column("docker_cpu_total_usage", "CPU"), column("docker_memory_usage", "Memory")],
      nodes: [...this.nodes.values()],
    };
  }
}

/** A peer as `api/peers` tells of it. */
export function peer(host, { isSelf = false, link = null, ...more } = {}) {
  return {
    id: `12D3KooW${host.padStart(8, "x")}`,
    host,
    addresses: ["192.0.2.7:4030"],
    agent: "scope/0.1.0",
    life: "live",
    lag: 0,
    link,
    epoch: 3,
    version: 41,
    isSelf,
    ...more,
  };
}

/** A connection as `api/peers` tells of it. */
export function link(address, more = {}) {
  return { address, direction: "outgoing", rttMs: 0.42, bytesIn: 123_456, bytesOut: 9_876_543, ...more };
}

export function probe(hostname, docker, reason) {
  const source = (name, state, why, more) => ({
    name,
    state,
    mode: "events",
    reason: why,
    cpuPercent: 0.1,
    lost: 0,
    ...more,
  });
  return {
    id: hostname,
    hostname,
    version: "0.1.0",
    lastSeen: new Date().toISOString(),
    sources: [
      source("host", "ok", "", { mode: "" }),
      source("process", "ok", "", { mode: "" }),
      source("connections", "ok", "", { mode: "sock_diag", cpuPercent: 0.8 }),
      source("ebpf", "ok", "", { mode: "", cpuPercent: 0.04, lost: 1204 }),
      source("conntrack", "ok", "", { cpuPercent: 0.2 }),
      source("docker", docker, reason),
      source("names", "ok", "", { mode: "dns" }),
    ],
  };
}

function option(id, defaultValue, choices) {
  return {
    id,
    defaultValue,
    selectType: "one",
    noneLabel: "",
    options: choices.map(([value, label]) => ({ value, label })),
  };
}

function table(id, label, rows) {
  return {
    id,
    label,
    type: "property-list",
    columns: null,
    rows: Array.from({ length: rows }, (_, i) => ({
      id: `${id}${i}`,
      entries: { label: `com.example.key-${i}`, value: `value ${i}` },
    })),
    truncationCount: 0,
  };
}

function connections(id, label, nodes) {
  return {
    id,
    topologyId: "containers",
    label,
    columns: [
      { id: "port", label: "Port", dataType: "number" },
      { id: "count", label: "Count", dataType: "number", defaultSort: true },
      { id: "name", label: "Name", dataType: "" },
      { id: "sent", label: "Sent/s", dataType: "filesize" },
      { id: "received", label: "Received/s", dataType: "filesize" },
      { id: "rtt", label: "RTT (ms)", dataType: "number" },
      { id: "retransmits", label: "Retransmits", dataType: "number" },
      { id: "last_seen", label: "Last seen", dataType: "datetime" },
    ],
    connections: nodes.map((node, i) => ({
      id: `${id}-${node.id}`,
      nodeId: node.id,
      label: node.label,
      labelMinor: node.labelMinor,
      metadata: [
        { id: "port", value: String(6379 + i) },
        { id: "count", value: String(3 + i) },
        { id: "name", value: "db.example.com" },
        { id: "sent", value: "1200" },
        { id: "received", value: "53000" },
        { id: "rtt", value: "0.18" },
        { id: "retransmits", value: "2" },
        { id: "last_seen", value: new Date().toISOString() },
      ],
    })),
  };
}

/** One relation of an edge: the first ones carry most. */
function relation(source, target, i, figures, seen) {
  const party = (node, name) => ({
    label: `${name} (${1234 + i})`,
    host: node.labelMinor,
    node: `tokyo;${1234 + i}`,
    topology: "processes",
  });
  return {
    protocol: i === 5 ? "udp" : "tcp",
    port: [80, 443, 8080, 9090, 6379, 53, 5432][i],
    client: party(source, i === 3 ? "a-program-with-a-rather-long-name" : "curl"),
    server: i === 6 ? { label: "198.51.100.7", host: "" } : party(target, target.label),
    address: `172.18.0.${3 + i}`,
    via: i === 1 ? "10.0.0.2:8080" : undefined,
    masquerade: i === 1 ? "10.0.0.1" : undefined,
    name: i === 2 ? "db.example.com" : null,
    open: i === 5 ? null : Math.max(0, (figures.open ?? 0) - i),
    opened: 40 - i,
    sent: i === 5 ? null : Math.round((figures.sent ?? 0) / 2 ** (i + 1)),
    received: i === 5 ? null : Math.round((figures.received ?? 0) / 2 ** (i + 1)),
    rttMicros: i === 5 ? null : 180 + 20 * i,
    retransmits: i === 0 ? 2 : 0,
    confirmed: i !== 4,
    fading: figures.fading,
    ...seen,
    ...(i === 3
      ? { fading: true, lastSeen: new Date(Date.parse(seen.lastSeen) - 12_000).toISOString() }
      : {}),
    toldBy: i === 4 ? ["tokyo"] : ["tokyo", "osaka"],
  };
}

function processes(name) {
  const metric = (id, label, format, value) => ({ id, label, format, value, priority: 1, samples: null });
  return {
    topologyId: "processes",
    label: "Processes",
    columns: [
      { id: "pid", label: "PID", dataType: "number" },
      { id: "process_cpu_usage_percent", label: "CPU", dataType: "number", defaultSort: true },
      { id: "process_memory_usage_bytes", label: "Memory", dataType: "number" },
    ],
    nodes: [1, 7, 8, 9, 10, 11, 12].map((pid) => ({
      id: `tokyo;${pid}`,
      label: pid === 1 ? name : `worker-${pid}`,
      shape: "square",
      metadata: [{ id: "pid", label: "PID", value: String(pid), dataType: "number" }],
      metrics: [
        metric("process_cpu_usage_percent", "CPU", "percent", (pid * 7.3) % 19),
        metric("process_memory_usage_bytes", "Memory", "filesize", pid * 3_100_000),
      ],
    })),
  };
}

function json(response, body) {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function notFound(response) {
  response.writeHead(404).end("not found");
}

function file(response, path) {
  const full = join(DIST, normalize(path));
  if (!full.startsWith(DIST) || !existsSync(full)) return notFound(response);
  response.writeHead(200, {
    "content-type": TYPES[extname(full)] ?? "application/octet-stream",
    "content-security-policy": POLICY,
  });
  createReadStream(full).pipe(response);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const value = (flag, fallback) =>
    Number(process.argv[process.argv.indexOf(flag) + 1] || fallback) || fallback;
  const has = (flag) => process.argv.includes(flag);
  const mock = new Mock({ nodes: has("--nodes") ? value("--nodes", 40) : 40 });
  if (has("--cut")) mock.cut();
  console.log(`mock peer at ${await mock.listen(has("--port") ? value("--port", 4040) : 4040)}`);
}
