{{/*
What a schema cannot say. Every template begins with it, so that a wrong value is told by what is wrong with it and not by the line of a
template that stumbled over it.
*/}}
{{- define "transporter-cp.check" -}}
{{- range list "security" "store" "persistence" "networkPolicy" "legacy" "redis" "metrics" "tests" "migrate" "probes" }}
  {{- if not (kindIs "map" (index $.Values .)) }}
    {{- fail (printf "\n\nThe value %q is missing: these are the values of an older chart. Use --reset-then-reuse-values instead of --reuse-values, or give your values again with -f." .) }}
  {{- end }}
{{- end }}
{{- $numbers := dict "replicaCount" .Values.replicaCount "cp.wsPort" .Values.cp.wsPort "cp.eventRetryMax" .Values.cp.eventRetryMax "cp.maxInFlight" .Values.cp.maxInFlight "cp.drainSeconds" .Values.cp.drainSeconds "probes.port" .Values.probes.port "service.websocketPort" .Values.service.websocketPort "service.httpsPort" .Values.service.httpsPort "service.agentsPort" .Values.service.agentsPort "legacy.port" .Values.legacy.port }}
{{- range $name, $number := $numbers }}
  {{- if kindIs "invalid" $number }}
    {{- fail (printf "\n\n%s is null, which would count as 0. Leave the line out for the default." $name) }}
  {{- end }}
{{- end }}
{{- $store := include "transporter-cp.storeType" . }}
{{- $replicas := int .Values.replicaCount }}
{{- if and (eq $store "sqlite") (gt $replicas 1) }}
  {{- fail (printf "\n\nreplicaCount is %d, but the store is SQLite, a file that one control plane alone can use. Set replicaCount=1, or name a Redis: cp.redis.addr=HOST:PORT for yours, redis.enabled=true for a small one of the chart's own." $replicas) }}
{{- end }}
{{- if and (eq $store "sqlite") .Values.autoscaling.enabled }}
  {{- fail "\n\nautoscaling.enabled needs several control planes, but the store is SQLite, a file that one alone can use. Name a Redis: cp.redis.addr=HOST:PORT, or redis.enabled=true." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
  {{- fail "\n\nautoscaling.minReplicas is above autoscaling.maxReplicas." }}
{{- end }}
{{- if and (eq $store "redis") (not (include "transporter-cp.redisNamed" .)) }}
  {{- fail "\n\nstore.type is redis, but no Redis is named: set cp.redis.addr, store.url or store.existingSecret, or redis.enabled=true for a small one of the chart's own." }}
{{- end }}
{{- if and (eq .Values.store.type "sqlite") (or .Values.store.url .Values.store.existingSecret .Values.cp.redis.addr) }}
  {{- fail "\n\nstore.type is sqlite, but cp.redis.addr, store.url or store.existingSecret names another store. Leave one of them out." }}
{{- end }}
{{- if and .Values.store.url (or .Values.store.existingSecret .Values.cp.redis.addr) }}
  {{- fail "\n\nstore.url is given together with store.existingSecret or cp.redis.addr. Each names the store: leave the others out." }}
{{- end }}
{{- if and .Values.store.url (not (regexMatch "^redis" .Values.store.url)) }}
  {{- fail "\n\nstore.url must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://. For SQLite leave it empty: persistence.* says where the file lies." }}
{{- end }}
{{- range $key, $url := dict "store.url" .Values.store.url "queue.url" .Values.queue.url "publish.to" .Values.publish.to "migrate.from01.url" .Values.migrate.from01.url }}
  {{- if and $url (regexMatch "^[a-z0-9+]+://[^/@?]*:[^/@?]*@" $url) }}
    {{- fail (printf "\n\n%s has a password in it, which everybody could read in the pod's specification. Put it into a Secret and name that by existingSecret." $key) }}
  {{- end }}
{{- end }}
{{- $given := .Values.terminationGracePeriodSeconds }}
{{- if and $given (eq $store "redis") (lt (int $given) (add (int .Values.cp.drainSeconds) 10 | int)) }}
  {{- fail (printf "\n\nterminationGracePeriodSeconds is %d, but agents are handed over for cp.drainSeconds=%d: give at least ten seconds more, or control planes are killed in the middle of it." (int $given) (int .Values.cp.drainSeconds)) }}
{{- end }}
{{- include "transporter-cp.checkSecurity" . }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) (not .Values.gateway.api.parentRefs) (not .Values.gateway.agents.parentRefs) }}
  {{- fail "\n\ngateway.enabled needs gateway.parentRefs: the Gateways that the routes belong to, such as [{name: my-gateway, namespace: gateways}]." }}
{{- end }}
{{- if and .Values.gateway.enabled .Values.gateway.api.backendTLS.enabled (not .Values.gateway.api.backendTLS.caConfigMap) }}
  {{- fail "\n\ngateway.api.backendTLS.enabled needs gateway.api.backendTLS.caConfigMap: the ConfigMap with the control plane's CA as ca.crt." }}
{{- end }}
{{- if .Values.gateway.enabled }}
  {{- $g := .Values.gateway }}
  {{- if and $g.api.enabled (not $g.hostnames) (eq (include "transporter-cp.gatewayKind" .) "TLSRoute") }}
    {{- fail "\n\ngateway.enabled needs gateway.hostnames, the API's names: where TLS is passed through (TLSRoute), the name alone says whom a connection is for." }}
  {{- end }}
  {{- if and $g.agents.enabled .Values.security.enabled (not .Values.security.agentsBehindProxy) (not $g.agents.hostnames) }}
    {{- fail "\n\ngateway.enabled needs gateway.agents.hostnames, another name than the API's: where TLS is passed through (TLSRoute), the name alone says whom a connection is for. Without a route for agents: gateway.agents.enabled=false." }}
  {{- end }}
{{- end }}
{{- if and .Values.migrate.from01.enabled (ne 1 (len (compact (list .Values.migrate.from01.addr .Values.migrate.from01.url .Values.migrate.from01.existingClaim)))) }}
  {{- fail "\n\nmigrate.from01.enabled needs one source: migrate.from01.addr (a Redis that runs), migrate.from01.url, or migrate.from01.existingClaim (the claim that 0.1's Redis left)." }}
{{- end }}
{{- if and .Values.publish.kinds (not .Values.publish.to) (not (include "transporter-cp.queueGiven" .)) }}
  {{- fail "\n\npublish.kinds needs publish.to, or a queue (queue.url) whose server it goes to." }}
{{- end }}
{{- end }}

{{- define "transporter-cp.checkSecurity" -}}
{{- $s := .Values.security }}
{{- if and .Values.legacy.enabled (not .Values.legacy.agents) }}
  {{- fail "\n\nlegacy.enabled lets agents of 0.1 in that do not say who they are, and only those that you name: set legacy.agents, such as legacy.agents={agent-1,agent-2}." }}
{{- end }}
{{- if $s.enabled }}
  {{- if and $s.existingSecret $s.certManager.enabled }}
    {{- fail "\n\nsecurity.existingSecret and security.certManager.enabled both say where the server certificate comes from. Leave one of them out." }}
  {{- end }}
  {{- if and (or $s.existingSecret $s.certManager.enabled) (not $s.admin.existingSecret) (not $s.oidc.issuer) (not $s.clientCA.existingSecret) }}
    {{- fail "\n\nWith a CA of yours (security.existingSecret, security.certManager) nobody makes the first admin token. Make one and name its Secret by security.admin.existingSecret:\n\n  transporter cp init --security-dir ./first --name unused\n  kubectl create secret generic transporter-admin --from-file=admin-token=./first/admin-token.hash\n\n`init` shows the token; the Secret has only its hash. Or let people in by security.oidc or security.clientCA." }}
  {{- end }}
  {{- if and $s.certManager.enabled (not $s.certManager.ca) (not $s.certManager.issuerRef.name) }}
    {{- fail "\n\nsecurity.certManager.ca=false needs security.certManager.issuerRef: the issuer of the server certificate, such as {name: my-ca, kind: ClusterIssuer}." }}
  {{- end }}
  {{- if and (or $s.tlsByProxy $s.agentsBehindProxy) (not $s.trustedProxies) }}
    {{- fail "\n\nsecurity.tlsByProxy and security.agentsBehindProxy need security.trustedProxies: the addresses of the proxy, such as {10.244.0.0/16}." }}
  {{- end }}
  {{- if and $s.oidc.issuer (not $s.oidc.audience) }}
    {{- fail "\n\nsecurity.oidc.issuer needs security.oidc.audience: what its tokens must say in `aud`. Without it a token for any other program would do." }}
  {{- end }}
{{- else if or $s.existingSecret $s.certManager.enabled $s.oidc.issuer $s.tlsByProxy $s.admin.existingSecret $s.clientCA.existingSecret }}
  {{- fail "\n\nsecurity.enabled is false, but other values of security.* ask for it. Leave security.enabled at true, or leave the others out." }}
{{- end }}
{{- end }}
