import type { GroundCluster } from "./ground.ts";
import { QUEUE_PORTS, type Values } from "./values.ts";

export type QueueKind = "nats" | "memphis";

/** A queue in front of the control plane, in its cluster. */
export interface Queue {
  readonly kind: QueueKind;
  /** In the order in which they are loaded. */
  readonly images: readonly string[];
  readonly manifest: string;
  /** Deployments to wait for, in this order. */
  readonly deployments: readonly string[];
  readonly nodePort: number;
  /** Of the control plane's chart. */
  readonly values: Values;
  /** Words for `transporter send`, given the port of this machine. */
  sendFlags(port: number): readonly string[];
}

/** A queue, and what brings its images to where the pods of a cluster find them. */
export interface QueueInFront extends Queue {
  bring(image: string, cluster: GroundCluster): Promise<void>;
}

export const QUEUE_NAMESPACE = "transporter-queue";
const NATS_IMAGE = "docker.io/library/nats:2.11.4";
const MEMPHIS_IMAGE = "docker.io/memphisos/memphis:1.4.3-stable";
const MEMPHIS_METADATA_IMAGE = "docker.io/memphisos/memphis-metadata:docker-15.2.0-debian-11-r27";
const PASSWORD = "memphis-of-the-journey";

/** What is asked for, with the image that its makers publish unless there is another. */
export function queueOf(kind: QueueKind, natsImage = NATS_IMAGE): Queue {
  return kind === "nats" ? nats(natsImage) : memphis();
}

function service(name: string, ports: readonly { name: string; port: number; nodePort?: number }[]): string {
  const type = ports.some((one) => one.nodePort !== undefined) ? "NodePort" : "ClusterIP";
  return `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${QUEUE_NAMESPACE} }
spec:
  type: ${type}
  selector: { app: ${name} }
  ports: ${JSON.stringify(ports)}
`;
}

const NAMESPACE = `apiVersion: v1
kind: Namespace
metadata: { name: ${QUEUE_NAMESPACE} }
`;

function nats(image: string): Queue {
  return {
    kind: "nats",
    images: [image],
    deployments: ["nats"],
    nodePort: QUEUE_PORTS.nats,
    values: { queue: { url: `nats://nats.${QUEUE_NAMESPACE}:4222/TRANSPORTER` } },
    sendFlags: (port) => ["--mode", "nats", "--queue", `nats://127.0.0.1:${port}/TRANSPORTER`],
    manifest: [
      NAMESPACE,
      service("nats", [{ name: "client", port: 4222, nodePort: QUEUE_PORTS.nats }]),
      `apiVersion: apps/v1
kind: Deployment
metadata: { name: nats, namespace: ${QUEUE_NAMESPACE} }
spec:
  selector: { matchLabels: { app: nats } }
  strategy: { type: Recreate }
  template:
    metadata: { labels: { app: nats } }
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext: { runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, seccompProfile: { type: RuntimeDefault } }
      containers:
        - name: nats
          image: ${image}
          imagePullPolicy: IfNotPresent
          args: [-js, -sd, /data, -m, "8222"]
          ports: [{ name: client, containerPort: 4222 }, { name: monitor, containerPort: 8222 }]
          readinessProbe: { httpGet: { path: "/healthz?js-enabled-only=true", port: monitor }, periodSeconds: 1 }
          resources: { requests: { cpu: 20m, memory: 32Mi }, limits: { memory: 256Mi } }
          securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
          volumeMounts: [{ name: data, mountPath: /data }, { name: tmp, mountPath: /tmp }]
      volumes: [{ name: data, emptyDir: {} }, { name: tmp, emptyDir: {} }]
`,
    ].join("---\n"),
  };
}

/** As its makers start it in containers: the broker, and the database of its metadata. For who has its images from when they could be had. */
function memphis(): Queue {
  return {
    kind: "memphis",
    images: [MEMPHIS_METADATA_IMAGE, MEMPHIS_IMAGE],
    deployments: ["memphis-metadata", "memphis"],
    nodePort: QUEUE_PORTS.memphis,
    values: { cp: { memphis: { enabled: true, host: `memphis.${QUEUE_NAMESPACE}:6666`, username: "root", password: PASSWORD } } },
    sendFlags: (port) => [
      "--mode",
      "memphis",
      "--memphis-host",
      `127.0.0.1:${port}`,
      "--memphis-username",
      "root",
      "--memphis-password",
      PASSWORD,
    ],
    manifest: [
      NAMESPACE,
      service("memphis-metadata", [{ name: "postgres", port: 5432 }]),
      deployment("memphis-metadata", MEMPHIS_METADATA_IMAGE, 5432, {
        POSTGRESQL_USERNAME: "memphis",
        POSTGRESQL_PASSWORD: PASSWORD,
        POSTGRESQL_DATABASE: "memphis",
        POSTGRESQL_PORT_NUMBER: "5432",
      }),
      service("memphis", [
        { name: "broker", port: 6666, nodePort: QUEUE_PORTS.memphis },
        { name: "page", port: 9000, nodePort: QUEUE_PORTS.memphisPage },
      ]),
      deployment("memphis", MEMPHIS_IMAGE, 6666, {
        ROOT_PASSWORD: PASSWORD,
        CONNECTION_TOKEN: PASSWORD,
        DOCKER_ENV: "true",
        USER_PASS_BASED_AUTH: "true",
        METADATA_DB_HOST: "memphis-metadata",
        METADATA_DB_PORT: "5432",
        METADATA_DB_USER: "memphis",
        METADATA_DB_PASS: PASSWORD,
        METADATA_DB_DBNAME: "memphis",
      }),
    ].join("---\n"),
  };
}

function deployment(name: string, image: string, port: number, env: Readonly<Record<string, string>>): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: ${QUEUE_NAMESPACE} }
spec:
  selector: { matchLabels: { app: ${name} } }
  strategy: { type: Recreate }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      containers:
        - name: ${name}
          image: ${image}
          imagePullPolicy: IfNotPresent
          env: ${JSON.stringify(Object.entries(env).map(([key, value]) => ({ name: key, value })))}
          ports: [{ containerPort: ${port} }]
          readinessProbe: { tcpSocket: { port: ${port} }, periodSeconds: 2 }
`;
}
