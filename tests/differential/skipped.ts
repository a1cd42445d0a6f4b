/** Kinds that no manifest of the corpus can be of, with the reason; all others that the API server serves have to be in it. */
export const SKIPPED_KINDS: Readonly<Record<string, string>> = {
  "v1 Binding": "a request to the scheduler that is never stored, and cannot be patched",
  "v1 ComponentStatus": "is only read, and made up for each reading",
  "authentication.k8s.io/v1 SelfSubjectReview": "a question that is never stored",
  "authentication.k8s.io/v1 TokenReview": "a question that is never stored",
  "authorization.k8s.io/v1 LocalSubjectAccessReview": "a question that is never stored",
  "authorization.k8s.io/v1 SelfSubjectAccessReview": "a question that is never stored",
  "authorization.k8s.io/v1 SelfSubjectRulesReview": "a question that is never stored",
  "authorization.k8s.io/v1 SubjectAccessReview": "a question that is never stored",
  "autoscaling/v1 HorizontalPodAutoscaler": "the same objects as in autoscaling/v2, which the corpus has",
};
