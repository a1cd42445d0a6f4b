import { messageOf } from "../../kit/mod.ts";
import { expressionProblem, judgeObject } from "./cel.ts";
import type { CelAnswer, CelTask } from "./expressions.ts";

// Expressions of strangers are evaluated here: one that takes too long is ended with its thread, and the agent does not stand still.
declare const self: Worker;

function carryOut(task: CelTask): CelAnswer {
  if (task.kind === "check") return { kind: "checked", problems: task.expressions.map(expressionProblem) };
  return { kind: "judged", verdicts: judgeObject(task.expressions, task.object) };
}

self.addEventListener("message", (message: MessageEvent<CelTask>) => {
  let answer: CelAnswer;
  try {
    answer = carryOut(message.data);
  } catch (error) {
    answer = { kind: "broken", why: messageOf(error) };
  }
  self.postMessage(answer);
});

self.postMessage({ kind: "started" } satisfies CelAnswer);
