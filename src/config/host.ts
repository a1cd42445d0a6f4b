/** True for hosts that only this machine can reach. A name other than localhost is not resolved: it could change. */
export function isLoopbackHost(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "").toLowerCase();
  return bare === "localhost" || bare === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(bare) || bare.startsWith("::ffff:127.");
}
