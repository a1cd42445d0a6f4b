/** `bun carrier.ts PORT SOCKET`: whatever comes to 127.0.0.1:PORT goes on to the socket in the file system. */
import { connect, createServer } from "node:net";

const [port = "0", path = ""] = process.argv.slice(2);
createServer((from) => {
  const to = connect(path);
  from.on("error", () => to.destroy());
  to.on("error", () => from.destroy());
  from.on("close", () => to.destroy());
  to.on("close", () => from.destroy());
  from.pipe(to);
  to.pipe(from);
}).listen(Number(port), "127.0.0.1", () => console.log("READY"));
