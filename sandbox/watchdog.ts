import { writeSync } from "node:fs";

/**
 * The loop runs in a grandchild, so that nobody who goes through our children (as `bun test` does when a test runs out of time) can
 * end it together with what it guards.
 */
const SCRIPT = `
(
  groups=" "
  cgroups=""
  while read -r verb id <&3; do
    case "$verb" in
      add) groups="$groups$id " ;;
      drop) rest=" "; for g in $groups; do [ "$g" = "$id" ] || rest="$rest$g "; done; groups="$rest" ;;
      cgroup) cgroups="$cgroups $id" ;;
      end) exit 0 ;;
    esac
  done
  for g in $groups; do kill -s KILL -- "-$g"; done
  # What is being killed may still write into the directory and be in the cgroups; those are made of directories and nothing else.
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
    left=""
    for g in $cgroups; do
      [ ! -d "$g" ] || find "$g" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
    done
    [ -z "$1" ] || rm -rf -- "$1" || left=1
    [ -n "$left" ] || break
    sleep 0.2
  done
) </dev/null >/dev/null 2>&1 &
`;

/**
 * Ends process groups when the process that started them is gone, however it went: kill -9 included, which no handler in it could see.
 * A small shell waits on a pipe that only we hold open. The kernel closes it when we die; then the shell kills every group it was
 * told of and removes their cgroups and the directory. Nothing is ended by it while we live.
 */
export class Watchdog {
  readonly #shell;
  readonly #pipe: number;

  /** `directory`, when given, is removed when we die. */
  constructor(directory?: string) {
    // detached: Ctrl-C on a terminal goes to the whole foreground group, and the watchdog has to outlive it.
    this.#shell = Bun.spawn(["/bin/sh", "-c", SCRIPT, "transporter-watchdog", directory ?? ""], {
      stdio: ["ignore", "ignore", "ignore", "pipe"],
      detached: true,
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
    });
    this.#shell.unref();
    const pipe: unknown = this.#shell.stdio[3];
    if (typeof pipe !== "number") throw new Error("the watchdog's pipe did not open");
    this.#pipe = pipe;
  }

  /** Tells of a process group by the id of its leader. */
  add(groupId: number): void {
    writeSync(this.#pipe, `add ${groupId}\n`);
  }

  /** To be called once the group has ended: its id may be given to somebody else. */
  drop(groupId: number): void {
    this.#tell(`drop ${groupId}\n`);
  }

  /** Tells of a directory of cgroups to be removed once the groups of processes are killed. No blanks in its path. */
  addCgroup(path: string): void {
    writeSync(this.#pipe, `cgroup ${path}\n`);
  }

  /** Nothing is left to guard. */
  close(): void {
    this.#tell("end\n");
  }

  #tell(line: string): void {
    try {
      writeSync(this.#pipe, line);
    } catch {
      // EPIPE: the shell is gone, and with it what it knew.
    }
  }
}
