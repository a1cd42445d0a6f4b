import { startPodClusters } from "../../sandbox/mod.ts";

/** Started by a test, which kills it: says where its cluster is, and holds it for as long as it is let. */
const clusters = await startPodClusters({ clusters: [{ name: "victim" }] });
console.log(JSON.stringify({ directory: clusters.directory, kubeconfigPath: clusters.cluster("victim").kubeconfigPath }));
setInterval(() => undefined, 60_000);
