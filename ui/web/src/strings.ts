/** Every text of the page. A missing key does not compile; another language is another object of this type. */
import { count, formatBytes, formatMicros, formatNumber, formatRate } from "./model/format";
import { traffic, type Figures, type Relation } from "./model/edges";
import { STEPS } from "./scene/lines";

const BYTE_STEPS = STEPS.traffic.map((bytes) => formatBytes(bytes));

export const strings = {
  appName: "scope",
  nav: "Topologies",
  subNav: "Grouping",
  optionsNav: "Options",
  all: "All",
  tabTitle: (name: string, nodes: number, edges: number, filtered: number): string =>
    `${name}: ${count(nodes, "node", "nodes")}, ${count(edges, "edge", "edges")}` +
    (filtered > 0 ? `, ${filtered} hidden by options` : ""),

  searchLabel: "Search nodes",
  searchPlaceholder: "Search, e.g. cpu > 4%",
  searchClear: "Clear search",
  searchFound: (found: number, total: number): string => `${found} of ${total}`,

  metricLabel: "Fill nodes by",
  metricNone: "None",

  linesLabel: "Lines",
  linesHint: "What the thickness of a line stands for (l)",
  lines: { plain: "Plain", connections: "Connections", traffic: "Traffic" },

  themeToDark: "Switch to the dark theme",
  themeToLight: "Switch to the light theme",
  help: "Help and shortcuts",
  close: "Close",
  back: "Back",

  mapLabel: (nodes: string, edges: string): string =>
    `Map of ${nodes} and ${edges}. A list of the nodes follows.`,
  nodeList: "Nodes",
  nodeListMore: (more: number): string =>
    `${count(more, "more node is", "more nodes are")} on the map. Search to list them.`,
  nodeName: (
    label: string,
    minor: string,
    state: string,
    kind: string,
    clients: number,
    servers: number,
  ): string =>
    [label, minor, state, kind, count(clients, "client", "clients"), count(servers, "server", "servers")]
      .filter((part) => part !== "")
      .join(", "),
  connectsTo: "connects to",
  nodeCount: (nodes: number): string => count(nodes, "node", "nodes"),
  edgeCount: (edges: number): string => count(edges, "edge", "edges"),
  hiddenCount: (hidden: number): string => `${hidden} hidden by options`,
  overflow: (more: number): string => `${count(more, "node does", "nodes do")} not fit on the map`,
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  fit: "Fit the whole map",
  tidy: "Tidy up the layout",
  tidyHint: "Nodes kept their places. Tidy up for a clearer map",
  outside: (nodes: number): string => `${count(nodes, "node", "nodes")} out of view`,

  connecting: "Connecting…",
  live: "Live",
  retryIn: (seconds: number): string => (seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting…"),
  retryNow: "Retry now",
  staleMap: "Connection lost. This is the last map received.",

  hosts: (hosts: number): string => count(hosts, "host", "hosts"),
  hostsSilent: (silent: number, hosts: number): string =>
    `${silent} of ${count(hosts, "host", "hosts")} not heard of`,
  openMesh: "open mesh",
  meshProblems: (problems: number): string => count(problems, "mesh problem", "mesh problems"),
  silentFor: (age: string): string => (age === "" ? "" : `not heard of for ${age}`),
  stale: {
    suspect: (age: string): string =>
      `Not heard of for ${age}: busy, or a link on the way is down. This is how it was.`,
    gone: (age: string): string => `Not heard of for ${age}: down, or cut off from here. This is how it was.`,
  },

  peersTitle: "Peers",
  peersLabel: "Peers of this mesh",
  peersHint: "Peers of this mesh and how they are reached",
  peersLoading: "Asking for the peers…",
  peersNone: "This peer is on no mesh.",
  peersOpen:
    "Open mesh: any scope that reaches this port can join and see everything. `scope secret new` makes a secret; give it to every host with --secret-file.",
  peersListen: (addresses: string): string => `listens on ${addresses}`,
  peersColumns: {
    host: "Host",
    life: "State",
    address: "Address",
    version: "Version",
    lag: "Behind",
    rtt: "Round trip",
    bytesIn: "In",
    bytesOut: "Out",
  },
  lives: { live: "live", suspect: "suspect", gone: "gone" },
  heardAgo: (age: string): string => `heard ${age} ago`,
  thisPeer: "this one",
  relayed: "by way of others",
  incoming: "it called",
  outgoing: "we called",
  inStep: "in step",
  behind: (versions: number): string => count(versions, "version", "versions"),
  lookedUp: "Looked up",

  sourcesOk: "all sources ok",
  problems: (problems: number): string => count(problems, "source limited", "sources limited"),
  sourceProblem: (source: string, state: string, reason: string): string =>
    `${source}: ${reason === "" ? state : reason}`,
  sourceStates: { ok: "ok", degraded: "degraded", off: "off" },
  sourcesTitle: "Where this map comes from",
  sourceCost: (percent: string): string => `${percent} of a core`,
  sourceLost: (lost: number): string => count(lost, "event lost", "events lost"),

  loading: "Loading the map…",
  emptyTitle: (topology: string): string => `Nothing to show in ${topology}`,
  emptyNoProbes: "No host has reported yet. This takes a few seconds after the start.",
  emptyHidden: (nodes: number): string =>
    `${count(nodes, "node is", "nodes are")} hidden by the options above.`,
  emptyQuiet: (topology: string): string =>
    `Every source works; there is just nothing in ${topology} at the moment.`,
  emptyEdges:
    "Whatever connects shows as a line between two nodes: point at one for its figures, click it for all.",
  emptyOn: (host: string): string => `on ${host}`,
  list: (names: readonly string[]): string => names.join(", "),

  detailsLabel: (name: string): string => `Details of ${name}`,
  detailsLoading: "Loading details…",
  detailsGone: "This node has gone. Below is what was last known of it.",
  detailsMissing: "This node has gone.",
  edgeName: (source: string, target: string): string => `${source} → ${target}`,
  edgeTo: "to",
  edgeTip: (source: string, target: string, figures: Figures | undefined): string =>
    [`${source} → ${target}`, ...(figures ? summary(figures) : [])].join(" · "),
  edgeLoading: "Loading the connections…",
  edgeGone: "This connection has gone. Below is what was last known of it.",
  edgeMissing: "This connection has gone.",
  edgeConfirmed: "Confirmed: both ends tell of it.",
  edgeOneSided: "Seen from one side only: the other end's host runs no scope, or could not see it.",
  edgeOutside: "Seen from one side only: the other end is outside this mesh.",
  edgeFading: (age: string): string =>
    `Last seen ${age === "" ? "some time" : age} ago: it goes from the map unless it is seen again.`,
  edgeStale: {
    suspect: (age: string): string =>
      `Those who tell of it have not been heard of for ${age}: busy, or a link on the way is down.`,
    gone: (age: string): string =>
      `Those who tell of it have not been heard of for ${age}: down, or cut off from here.`,
  },
  edgeOpen: "Open",
  edgeSent: (target: string): string => `↑ To ${target}`,
  edgeReceived: (target: string): string => `↓ From ${target}`,
  edgeRtt: "Round trip",
  edgeOpened: "Opened",
  edgeRetransmits: "Retransmits",
  edgeFirstSeen: "First seen",
  edgeLastSeen: "Last seen",
  edgeSeenBy: "Seen by",
  edgeDetailsOf: (name: string): string => `Connections with ${name}`,
  relations: "Connections",
  relationColumns: { client: "Client", server: "Server", port: "Port", open: "Open", traffic: "Traffic" },
  relationPort: (protocol: string, port: number): string => (port > 0 ? `${protocol}:${port}` : protocol),
  relationOn: (label: string, host: string): string => (host === "" ? label : `${label} on ${host}`),
  relationNote: (relation: Relation, age: string): string => note(relation, age).join(" · "),
  relationsMore: (more: number): string =>
    `${count(more, "more connection is", "more connections are")} not listed.`,

  showIn: (topology: string): string => `Show in ${topology}`,
  metrics: "Status",
  info: "Info",
  more: (rows: number): string => `Show ${rows} more`,
  less: "Show less",
  name: "Name",
  truncated: (rows: number): string => `${count(rows, "row was", "rows were")} left out by the host.`,
  noValue: "no value",
  sparklineOld: (label: string, low: string, high: string): string =>
    `${label}, two minutes up to when it was last heard of: ${low} to ${high}`,
  sparkline: (label: string, low: string, high: string): string =>
    `${label}, last two minutes: ${low} to ${high}`,

  version: (version: string): string => `v${version.replace(/^v/, "")}`,
  servedBy: "served by",

  helpTitle: "Help",
  helpKeys: "Keys",
  helpSearch: "Search",
  helpMap: "Reading the map",
  helpLines: "Lines",
  helpLinesNote:
    "Point at a line for its figures, click it for all of them; in a node's details the button before a name does the same. An open arrow is seen from one side only. A pale line is not seen any more and goes soon.",
  lineSteps: { connections: STEPS.connections.map(formatNumber), traffic: BYTE_STEPS },
  lineLegend: {
    connections: "open connections, with Lines: Connections",
    traffic: "a second both ways, with Lines: Traffic",
  },
  keys: [
    ["/", "search"],
    ["esc", "close, clear, deselect"],
    ["f", "fit the whole map"],
    ["+  −", "zoom"],
    ["t", "tidy up the layout"],
    ["l", "lines: plain, connections, traffic"],
    ["p", "peers of this mesh"],
    ["tab", "walk through the nodes, enter opens one"],
    ["?", "this help"],
  ],
  searches: [
    ["redis", "in names, metadata, labels and parents"],
    ["image: nginx", "in one field"],
    ["cpu > 4%", "a metric; also < and =, with k, m, g"],
    ["web or api", "either; words side by side mean both"],
    ["-proxy", "without"],
    ["stale", "what is not heard of"],
    ['"two words"', "as they stand"],
  ],
  shapes: [
    ["hexagon", "container"],
    ["square", "process"],
    ["circle", "host"],
    ["cloud", "outside"],
  ],
  shapeNote:
    "A stack stands for several. Pale and dashed is stopped, two bars mean paused. Hatched, with a clock and an age, is not heard of. Arrows point from client to server. One colour is one image or program.",
  kinds: {
    hexagon: "container",
    square: "process",
    circle: "host",
    heptagon: "pod",
    octagon: "service",
    pentagon: "controller",
    triangle: "job",
    cloud: "outside",
    cylinder: "volume",
    sheet: "storage",
  },
} as const;

/** The figures of an edge in a few words. */
function summary(figures: Figures): string[] {
  const bytes = traffic(figures);
  return [
    figures.open === null ? "" : count(figures.open, "open", "open"),
    bytes === null ? "" : formatRate(bytes),
    figures.stale ? "not heard of" : figures.fading ? "not seen any more" : "",
    figures.confirmed ? "" : "seen from one side only",
  ].filter((part) => part !== "");
}

/** What the table has no column for. */
function note(relation: Relation, age: string): string[] {
  const { sent, received, rttMicros, retransmits, opened, toldBy } = relation;
  return [
    [relation.name, relation.address].filter((part) => part !== "").join(" "),
    relation.via === "" ? "" : `by way of ${relation.via}`,
    relation.masquerade === "" ? "" : `seen there as ${relation.masquerade}`,
    sent === null ? "" : `↑ ${formatRate(sent)}`,
    received === null ? "" : `↓ ${formatRate(received)}`,
    rttMicros === null ? "" : formatMicros(rttMicros),
    retransmits ? count(retransmits, "retransmit", "retransmits") : "",
    opened === null ? "" : count(opened, "opened", "opened"),
    relation.fading ? `last seen ${age === "" ? "some time" : age} ago` : "",
    relation.confirmed ? "" : `told by ${toldBy.length === 0 ? "one side" : toldBy.join(", ")} only`,
  ].filter((part) => part !== "");
}
