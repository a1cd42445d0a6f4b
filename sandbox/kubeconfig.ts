export interface KubeconfigParts {
  readonly url: string;
  readonly caPem: string;
  readonly user: string;
  readonly credentials: { readonly token: string } | { readonly certificatePem: string; readonly keyPem: string };
  readonly namespace?: string;
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** A kubeconfig of one context. JSON, which every reader of YAML reads. */
export function kubeconfigText(parts: KubeconfigParts): string {
  const name = "transporter-sandbox";
  const user =
    "token" in parts.credentials
      ? { token: parts.credentials.token }
      : {
          "client-certificate-data": base64(parts.credentials.certificatePem),
          "client-key-data": base64(parts.credentials.keyPem),
        };
  return `${JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster: { server: parts.url, "certificate-authority-data": base64(parts.caPem) } }],
      users: [{ name: parts.user, user }],
      contexts: [
        { name, context: { cluster: name, user: parts.user, ...(parts.namespace === undefined ? {} : { namespace: parts.namespace }) } },
      ],
      "current-context": name,
    },
    undefined,
    2,
  )}\n`;
}
