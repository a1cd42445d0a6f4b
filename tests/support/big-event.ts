/**
 * Manifests as platforms ship them: CRDs with validation, and objects of many kinds that belong together, each a document of one YAML
 * text. Everything lies in `namespace`; CRDs have `group`, so that two runs do not meet.
 */
export function bigManifest(options: {
  readonly namespace: string;
  readonly group: string;
  readonly apps: number;
  readonly crds: number;
  readonly configBytes: number;
}): { readonly yaml: string; readonly objects: number } {
  const documents: string[] = [];
  // Out of order on purpose: custom resources before their definitions, objects before their namespace's quota.
  for (let index = 0; index < options.crds; index += 1) documents.push(customResource(options, index));
  for (let index = 0; index < options.apps; index += 1) documents.push(...app(options, index));
  for (let index = 0; index < options.crds; index += 1) documents.push(definition(options, index));
  return { yaml: documents.join("---\n"), objects: documents.length };
}

function definition({ group }: { readonly group: string }, index: number): string {
  const fields = Array.from(
    { length: 60 },
    (_value, field) => `                setting${field}:
                  type: ${field % 3 === 0 ? "integer" : "string"}
                  description: "Setting ${field} of the machine: what the line's controller reads when it starts, and again every minute."
`,
  ).join("");
  return `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: machine${index}s.${group}
spec:
  group: ${group}
  scope: Namespaced
  names: {plural: machine${index}s, singular: machine${index}, kind: Machine${index}}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              x-kubernetes-preserve-unknown-fields: true
              properties:
${fields}            status:
              type: object
              x-kubernetes-preserve-unknown-fields: true
`;
}

function customResource({ group, namespace }: { readonly group: string; readonly namespace: string }, index: number): string {
  return `apiVersion: ${group}/v1
kind: Machine${index}
metadata: {name: press-${index}, namespace: ${namespace}}
spec:
  setting0: 0644
  setting1: "no"
  setting3: ${index}
  anything: {deep: [1, 2, {x: y}]}
`;
}

function app({ namespace, configBytes }: { readonly namespace: string; readonly configBytes: number }, index: number): string[] {
  const meta = (name: string): string =>
    `metadata:\n  name: ${name}\n  namespace: ${namespace}\n  labels: {app.kubernetes.io/name: app-${index}, app.kubernetes.io/part-of: line}\n`;
  const line = "log_format main '$remote_addr - $remote_user [$time_local] \"$request\"';  # ünïcode and 100 %\n    ";
  return [
    `apiVersion: v1\nkind: ConfigMap\n${meta(`app-${index}`)}data:\n  nginx.conf: |\n    ${line.repeat(Math.ceil(configBytes / line.length))}\n`,
    `apiVersion: v1\nkind: Secret\n${meta(`app-${index}`)}type: Opaque\nstringData: {password: "0123", url: "https://example.test/?a=b&c=d"}\n`,
    `apiVersion: v1\nkind: ServiceAccount\n${meta(`app-${index}`)}automountServiceAccountToken: no\n`,
    `apiVersion: v1\nkind: Service\n${meta(`app-${index}`)}spec:\n  selector: {app.kubernetes.io/name: app-${index}}\n  ports:\n    - {name: dns, port: 53, protocol: UDP}\n    - {name: dns-tcp, port: 53, protocol: TCP}\n    - {name: http, port: 80, targetPort: 8080}\n`,
    `apiVersion: apps/v1
kind: Deployment
${meta(`app-${index}`)}spec:
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: app-${index}}}
  template:
    metadata: {labels: {app.kubernetes.io/name: app-${index}}}
    spec:
      serviceAccountName: app-${index}
      containers:
        - name: app
          image: registry.example/app:1.${index}
          ports: [{containerPort: 8080}]
          env: [{name: INDEX, value: "${index}"}]
          resources: {requests: {cpu: 1m, memory: 1Mi}}
          volumeMounts: [{name: config, mountPath: /etc/app}]
      volumes:
        - name: config
          configMap: {name: app-${index}, defaultMode: 0644}
`,
    `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n${meta(`app-${index}`)}spec:\n  podSelector: {matchLabels: {app.kubernetes.io/name: app-${index}}}\n  ingress:\n    - from: [{namespaceSelector: {matchLabels: {team: ops}}}]\n`,
  ];
}
