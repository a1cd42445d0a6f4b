import type { Env } from "./resolve.ts";

/** The directories of the XDG base directory specification, with our own name below them. */
export interface Places {
  /** Undefined only where neither HOME nor the XDG variable says anything. */
  readonly config: string | undefined;
  readonly state: string | undefined;
  readonly cache: string | undefined;
  /** 0.1's file, `$HOME/.transporter.yaml`. */
  readonly homeFile: string | undefined;
}

// The specification wants relative paths ignored. Source: https://specifications.freedesktop.org/basedir-spec/latest/
function place(env: Env, variable: string, belowHome: string): string | undefined {
  const set = env[variable];
  if (set !== undefined && set.startsWith("/")) return `${set}/transporter`;
  const home = env["HOME"];
  return home === undefined || home === "" ? undefined : `${home}/${belowHome}/transporter`;
}

export function places(env: Env): Places {
  const home = env["HOME"];
  return {
    config: place(env, "XDG_CONFIG_HOME", ".config"),
    state: place(env, "XDG_STATE_HOME", ".local/state"),
    cache: place(env, "XDG_CACHE_HOME", ".cache"),
    homeFile: home === undefined || home === "" ? undefined : `${home}/.transporter.yaml`,
  };
}
