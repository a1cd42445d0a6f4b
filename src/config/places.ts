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
  const home = homeOf(env);
  return home === undefined ? undefined : `${home}/${belowHome}/transporter`;
}

/** In a container an account without an entry has `/`, and a path of two slashes at its beginning means something else to some. */
function homeOf(env: Env): string | undefined {
  const home = env["HOME"];
  return home === undefined || home === "" ? undefined : home.replace(/\/+$/, "");
}

export function places(env: Env): Places {
  const home = homeOf(env);
  return {
    config: place(env, "XDG_CONFIG_HOME", ".config"),
    state: place(env, "XDG_STATE_HOME", ".local/state"),
    cache: place(env, "XDG_CACHE_HOME", ".cache"),
    homeFile: home === undefined ? undefined : `${home}/.transporter.yaml`,
  };
}
