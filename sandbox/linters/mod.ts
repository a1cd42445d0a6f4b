/** Programs that look at what people install: actionlint at workflows, promtool at alerts. Built when somebody asks. */
import { join } from "node:path";
import { GoPrograms } from "../go-programs.ts";

export const ACTIONLINT = new GoPrograms({
  directory: join(import.meta.dir, "actionlint"),
  packages: { actionlint: "github.com/rhysd/actionlint/cmd/actionlint" },
  versionOf: "github.com/rhysd/actionlint",
  label: "actionlint",
  prefix: "actionlint-",
  cost: "Takes ten seconds.",
});

export const PROMTOOL = new GoPrograms({
  directory: join(import.meta.dir, "promtool"),
  packages: { promtool: "github.com/prometheus/prometheus/cmd/promtool" },
  versionOf: "github.com/prometheus/prometheus",
  // It is to read rules; finding what to scrape in thirty clouds is most of its packages.
  tags: "remove_all_sd",
  label: "promtool",
  prefix: "promtool-",
  cost: "Takes 2 to 5 minutes on 2 cores.",
});
