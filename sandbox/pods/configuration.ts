import { PAUSE_IMAGE } from "./pause-image.ts";

export const API_PORT = 6443;
export const SERVICE_CIDR = "10.96.0.0/16";
export const DNS_ADDRESS = "10.96.0.10";
export const CLUSTER_DOMAIN = "cluster.local";

/** Where everything of one node is: directories of its own, though it shares the machine's file system. */
export interface NodePaths {
  readonly directory: string;
  readonly tls: string;
  readonly containerdSocket: string;
  readonly kubelet: string;
  readonly cni: string;
  readonly resolvConf: string;
}

export interface NodeSettings {
  readonly name: string;
  readonly address: string;
  readonly podCidr: string;
  readonly cgroup: string;
  readonly paths: NodePaths;
  /** Names that pods can look up besides those of Services: of the nodes of all clusters, with their addresses. */
  readonly nodes: Readonly<Record<string, string>>;
}

export function nodePaths(directory: string): NodePaths {
  return {
    directory,
    tls: `${directory}/tls`,
    containerdSocket: `${directory}/containerd.sock`,
    kubelet: `${directory}/kubelet`,
    cni: `${directory}/cni`,
    resolvConf: `${directory}/resolv.conf`,
  };
}

export interface ContainerdPrograms {
  readonly runc: string;
  readonly cniDirectory: string;
  readonly snapshotter: string;
}

const toml = (value: string): string => JSON.stringify(value);

/** Every path is its own: by default two of them would share state, sockets and networks. */
export function containerdConfig({ paths }: NodeSettings, { runc, cniDirectory, snapshotter }: ContainerdPrograms): string {
  const at = (name: string): string => toml(`${paths.directory}/${name}`);
  return `version = 2
root = ${at("images")}
state = ${at("containers")}
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = ${toml(paths.containerdSocket)}
[plugins."io.containerd.internal.v1.opt"]
path = ${at("opt")}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = ${toml(PAUSE_IMAGE)}
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = ${toml(cniDirectory)}
conf_dir = ${toml(paths.cni)}
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = ${toml(snapshotter)}
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = ${toml(runc)}
Root = ${at("runc")}
SystemdCgroup = false
`;
}

export function cniConfig({ paths, podCidr }: NodeSettings): string {
  return JSON.stringify({
    cniVersion: "1.0.0",
    name: "pods",
    plugins: [
      {
        type: "bridge",
        bridge: "cni0",
        isGateway: true,
        // A pod reaches itself through its own Service.
        hairpinMode: true,
        // The plugin would call iptables; the node has an nftables rule for it.
        ipMasq: false,
        ipam: {
          type: "host-local",
          dataDir: `${paths.directory}/addresses`,
          ranges: [[{ subnet: podCidr }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
    ],
  });
}

/** Whatever leaves the node carries the node's address: nobody outside has a route to its pods. */
export function masqueradeRules({ podCidr }: NodeSettings): string {
  return `table ip node {
  chain leaving {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${podCidr} ip daddr != ${podCidr} oifname "eth0" masquerade
  }
}
`;
}

export function kubeletConfig({ paths, cgroup }: NodeSettings, maxOpenFiles: number): string {
  return JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: "0.0.0.0",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: `${paths.tls}/ca.crt` } },
    authorization: { mode: "Webhook" },
    tlsCertFile: `${paths.tls}/kubelet-server.crt`,
    tlsPrivateKeyFile: `${paths.tls}/kubelet-server.key`,
    containerRuntimeEndpoint: `unix://${paths.containerdSocket}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${cgroup}`,
    enforceNodeAllocatable: [],
    failCgroupV1: false,
    failSwapOn: false,
    // Lowering it takes a capability that containers do not have.
    oomScoreAdj: 0,
    maxOpenFiles,
    makeIPTablesUtilChains: false,
    localStorageCapacityIsolation: true,
    // The machine is not ours: a disk that is nearly full must not evict anybody here.
    evictionHard: { "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
    imageGCHighThresholdPercent: 100,
    clusterDNS: [DNS_ADDRESS],
    clusterDomain: CLUSTER_DOMAIN,
    resolvConf: paths.resolvConf,
    podLogsDir: `${paths.directory}/pod-logs`,
    volumePluginDir: `${paths.directory}/volume-plugins`,
    staticPodPath: "",
    serializeImagePulls: false,
    nodeStatusUpdateFrequency: "5s",
    syncFrequency: "10s",
  });
}

export function kubeProxyConfig({ name, paths, podCidr }: NodeSettings): string {
  return JSON.stringify({
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clusterCIDR: podCidr,
    hostnameOverride: name,
    oomScoreAdj: 0,
    clientConnection: { kubeconfig: `${paths.tls}/kube-proxy.kubeconfig` },
    // These belong to the whole machine.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    nftables: { minSyncPeriod: "100ms" },
  });
}

export function corefile({ address, paths, nodes }: NodeSettings): string {
  const hosts = Object.entries(nodes).map(([name, at]) => `    ${at} ${name}`);
  return `.:53 {
  bind ${address}
  errors
  hosts {
${hosts.join("\n")}
    ttl 5
    fallthrough
  }
  kubernetes ${CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {
    kubeconfig ${paths.tls}/controllers.kubeconfig
    ttl 5
  }
}
`;
}

/** The Service that every pod asks. What answers is no pod, so its address is written down by hand. */
export function dnsObjects({ address }: NodeSettings): readonly (readonly [path: string, object: unknown])[] {
  const metadata = { name: "kube-dns", namespace: "kube-system" };
  const ports = [
    { name: "dns", port: 53, protocol: "UDP" },
    { name: "dns-tcp", port: 53, protocol: "TCP" },
  ];
  return [
    ["/api/v1/namespaces/kube-system/services", { apiVersion: "v1", kind: "Service", metadata, spec: { clusterIP: DNS_ADDRESS, ports } }],
    [
      "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
      {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { ...metadata, labels: { "kubernetes.io/service-name": metadata.name } },
        addressType: "IPv4",
        endpoints: [{ addresses: [address], conditions: { ready: true } }],
        ports,
      },
    ],
  ];
}
