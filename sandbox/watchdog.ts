/**
 * Ends process groups when the process that started them is gone, however it went: kill -9 included, which no handler in it could see.
 * A small shell waits on a pipe that only we hold open. The kernel closes it when we die; then the shell kills every group it was
 * told of and removes the directory.
 */
const SCRIPT = `
groups=" "
while read -r verb id; do
  case "$verb" in
    add) groups="$groups$id " ;;
    drop) rest=" "; for g in $groups; do [ "$g" = "$id" ] || rest="$rest$g "; done; groups="$rest" ;;
  esac
done
for g in $groups; do kill -s KILL -- "-$g" 2>/dev/null; done
[ -z "$1" ] || rm -rf -- "$1"
`;

export class Watchdog {
  readonly #shell;

  /** `directory`, when given, is removed at the end. */
  constructor(directory?: string) {
    // detached: Ctrl-C on a terminal goes to the whole foreground group, and the watchdog has to outlive it.
    this.#shell = Bun.spawn(["/bin/sh", "-c", SCRIPT, "transporter-watchdog", directory ?? ""], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
      detached: true,
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
    });
    this.#shell.unref();
  }

  /** Tells of a process group by the id of its leader. */
  async add(groupId: number): Promise<void> {
    await this.#shell.stdin.write(`add ${groupId}\n`);
    await this.#shell.stdin.flush();
  }

  /** To be called once the group has ended: its id may be given to somebody else. */
  async drop(groupId: number): Promise<void> {
    try {
      await this.#shell.stdin.write(`drop ${groupId}\n`);
      await this.#shell.stdin.flush();
    } catch {
      // The shell is gone, and with it what it knew.
    }
  }

  /** Kills what is still known, removes the directory, and waits until both are done. */
  async close(): Promise<void> {
    await this.#shell.stdin.end();
    await this.#shell.exited;
  }
}
