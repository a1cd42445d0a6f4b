{{/* Parts of NOTES.txt: the commands that are right for these values. */}}

{{- define "transporter-cp.reach" -}}
{{- $k := printf "kubectl -n %s" .Release.Namespace }}
{{- $name := include "transporter-cp.fullname" . }}
{{- $scheme := ternary "https" "http" .Values.security.enabled }}
{{- $host := include "transporter-cp.publicHost" . }}
{{- if $host }}
  CP={{ $host }}
{{- else if and .Values.security.enabled .Values.security.tlsByProxy }}
  CP=https://...   # your proxy's address: with security.tlsByProxy nobody else is answered
{{- else if and (eq .Values.service.type "NodePort") .Values.security.enabled .Values.security.names }}
  CP=https://{{ first .Values.security.names }}:$({{ $k }} get service {{ $name }} -o jsonpath='{.spec.ports[?(@.name=="https")].nodePort}')
{{- else if eq .Values.service.type "NodePort" }}
  HOST=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  CP={{ $scheme }}://$HOST:$({{ $k }} get service {{ $name }} -o jsonpath='{.spec.ports[?(@.name=="https")].nodePort}')
{{- else if eq .Values.service.type "LoadBalancer" }}
  HOST=$({{ $k }} get service {{ $name }} -o jsonpath='{.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}')
  CP={{ $scheme }}://$HOST:{{ int .Values.service.httpsPort }}
{{- else }}
  {{ $k }} port-forward service/{{ $name }} 18080:{{ int .Values.service.httpsPort }} &
  CP={{ $scheme }}://127.0.0.1:18080
{{- end }}
{{- if and (not $host) (ne .Values.service.type "ClusterIP") (include "transporter-cp.ownCA" .) (not .Values.security.names) (not .Values.service.externalIPs) (not .Values.service.loadBalancerIP) }}

  The server certificate does not have that address yet: helm upgrade with --reset-then-reuse-values --set security.names="{$HOST}"
{{- end }}
{{- end }}

{{/* Of Ingress or Gateway, where there is one. */}}
{{- define "transporter-cp.publicHost" -}}
{{- if and .Values.ingress.enabled .Values.ingress.hosts }}
{{- printf "%s://%s" (ternary "https" "http" (or .Values.security.enabled (gt (len .Values.ingress.tls) 0))) (first .Values.ingress.hosts) }}
{{- else if and .Values.gateway.enabled .Values.gateway.api.enabled .Values.gateway.hostnames }}
{{- printf "https://%s" (first .Values.gateway.hostnames) }}
{{- end }}
{{- end }}

{{- define "transporter-cp.login" -}}
{{- $k := printf "kubectl -n %s" .Release.Namespace }}
{{- $secret := include "transporter-cp.securitySecret" . }}
{{- if include "transporter-cp.ownCA" . }}
{{- $pin := ternary "" " --ca-hash \"$HASH\"" (eq (include "transporter-cp.endsInFront" .) "true") }}
  HASH=$({{ $k }} get secret {{ $secret }} -o jsonpath='{.data.ca-hash}' | base64 -d)
  {{- if .Values.security.admin.existingSecret }}
  transporter login --cp-url "$CP"{{ $pin }}   # asks for the token
  {{- else }}
  {{ $k }} get secret {{ $secret }} -o jsonpath='{.data.admin-token}' | base64 -d | transporter login --cp-url "$CP"{{ $pin }} --token-file -

  Then take the token out of the cluster; only its hash stays:

  {{ $k }} patch secret {{ $secret }} --type=json -p '[{"op":"remove","path":"/data/admin-token"}]'
  {{- end }}
{{- else }}
  {{ $k }} get secret {{ include "transporter-cp.tlsSecret" . }} -o jsonpath='{.data.ca\.crt}' | base64 -d > transporter-ca.crt
  transporter login --cp-url "$CP" --ca-file transporter-ca.crt   # asks for the token
{{- end }}
{{- end }}

{{/* Whatever ends TLS in front shows a certificate of its own, which this CA has not signed: its hash is of no use then, nor is it to agents. */}}
{{- define "transporter-cp.endsInFront" -}}
{{- if or .Values.security.tlsByProxy .Values.ingress.enabled (include "transporter-cp.gatewayEndsTLS" .) }}true{{ end }}
{{- end }}

{{/* What an agent in another cluster is told to call. */}}
{{- define "transporter-cp.agentsReach" -}}
{{- if not .Values.security.enabled -}}
ws://HOST:{{ int .Values.service.websocketPort }}/ws
{{- else if or (include "transporter-cp.publicHost" .) (ne .Values.service.type "ClusterIP") -}}
"$CP"
{{- else -}}
https://{{ include "transporter-cp.fullname" . }}.{{ .Release.Namespace }}.svc:{{ int .Values.service.httpsPort }}
{{- end }}
{{- end }}

{{/* What should be known, each with the way out. */}}
{{- define "transporter-cp.warnings" -}}
{{- $redis := eq (include "transporter-cp.storeType" .) "redis" }}
{{- if not .Values.security.enabled }}
!!! WITHOUT SECURITY: whoever reaches the port commands every agent, and so every cluster. Leave security.enabled at true.
{{- end }}
{{- if and .Values.legacy.enabled .Values.security.enabled }}
!!! OPEN FOR 0.1: agents {{ join ", " .Values.legacy.agents }} and their producers come in by the port `websocket` without showing who they are.
    To leave it: install the agent chart of this version in each of their clusters and let it enrol (an id that has enrolled cannot come that way any
    more); when transporter_legacy_connections stays 0, helm upgrade with legacy.enabled=false. 0.1's cpURL (ws://...) leads here until then.
{{- else if and .Values.security.enabled (include "transporter-cp.was01" .) }}
!!! FROM 0.1: its agents and producers, who call ws:// or http://, are turned away now. legacy.enabled=true with legacy.agents={their ids} lets them in meanwhile.
{{- end }}
{{- if and (include "transporter-cp.ownCA" .) (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
!!! serviceAccount.create is false and no name is given: the account `default` may read the CA's key now, and with it every pod of this namespace that runs as it. Name an account.
{{- end }}
{{- if and (not $redis) (not .Values.persistence.enabled) }}
!!! NOTHING IS KEPT: persistence.enabled is false, so events, tokens and identities are lost with the pod.
{{- end }}
{{- if and (not $redis) .Values.persistence.enabled (not .Values.persistence.existingClaim) (not .Values.persistence.keep) }}
Note: helm uninstall deletes the volume claim {{ include "transporter-cp.fullname" . }} and all events with it, and so does a change to Redis. persistence.keep=true leaves it.
{{- end }}
{{- if and (include "transporter-cp.ownCA" .) (not .Values.persistence.keep) }}
Note: helm uninstall deletes the Secret {{ include "transporter-cp.securitySecret" . }} and the CA in it, and so does another CA (security.existingSecret, security.certManager, security.enabled=false): without a backup
    every agent has to enrol anew then. persistence.keep=true leaves it.
{{- end }}
{{- if and (not $redis) .Values.persistence.keep }}
Note: helm uninstall leaves the volume claim {{ include "transporter-cp.fullname" . }}{{ if include "transporter-cp.ownCA" . }} and the Secret {{ include "transporter-cp.securitySecret" . }}{{ end }}; delete by hand what you do not need.
{{- end }}
{{- if and .Values.security.enabled (eq .Values.service.type "ClusterIP") (not .Values.ingress.enabled) (not .Values.gateway.enabled) }}
Note: agents of other clusters cannot reach a Service of type ClusterIP. service.type=LoadBalancer or NodePort, or gateway.enabled=true, opens a way.
{{- end }}
{{- if and .Values.security.enabled (not (include "transporter-cp.agentsURL" .)) (or (eq .Values.service.type "NodePort") (and (ne .Values.service.type "ClusterIP") (ne (int .Values.service.agentsPort) 8443))) }}
!!! security.agentsURL is empty: agents would be told port 8443, which is not open to them here. Set it to wss://HOST:PORT/ws of the port `agents`.
{{- end }}
{{- if and .Values.ingress.enabled .Values.security.enabled (not .Values.security.tlsByProxy) (not .Values.ingress.annotations) (not .Values.service.annotations) }}
!!! The API speaks TLS, and ingress.annotations does not say so: nginx needs nginx.ingress.kubernetes.io/backend-protocol: HTTPS. Or end TLS at the proxy: security.tlsByProxy.
{{- end }}
{{- if and .Values.ingress.enabled .Values.security.enabled (not .Values.security.agentsBehindProxy) }}
Note: the Ingress leads to the API alone. Agents show certificates, which an Ingress that ends TLS does not pass on: gateway.agents, a load balancer, or security.agentsBehindProxy.
{{- end }}
{{- if include "transporter-cp.ownRedis" . }}
{{- if not .Values.redis.auth.enabled }}
!!! The Redis has no password (redis.auth.enabled=false), as 0.1's had none. Leave redis.auth.enabled at true.
{{- end }}
{{- if not .Values.redis.master.persistence.enabled }}
!!! NOTHING IS KEPT: redis.master.persistence.enabled is false, so everything is lost with the pod of Redis.
{{- end }}
{{- if and .Values.redis.auth.enabled (not .Values.redis.auth.password) (not .Values.redis.auth.existingSecret) }}
Note: the password of Redis was made up and lies in Secret {{ include "transporter-cp.redisSecret" . }}. Tools that only render charts (GitOps) would make up another each time: give them redis.auth.existingSecret.
{{- end }}
{{- end }}
{{- include "transporter-cp.ignored" . }}
{{- if .Values.migrate.from01.enabled }}
Note: what 0.1's Redis holds is brought over before each start. See it with: kubectl -n {{ .Release.Namespace }} logs deployment/{{ include "transporter-cp.fullname" . }} -c migrate-from-0-1
    When that is done, helm upgrade with migrate.from01.enabled=false.
{{- end }}
{{- end }}

{{/* Values that are taken and count for nothing. */}}
{{- define "transporter-cp.ignored" -}}
{{- $ignored := list }}
{{- if and .Values.redis.enabled (not (include "transporter-cp.ownRedis" .)) }}{{ $ignored = append $ignored "redis.enabled (the store is named otherwise)" }}{{ end }}
{{- $known := list "enabled" "image" "auth" "appendfsync" "maxmemory" "extraConfig" "master" "replica" "podSecurityContext" "global" "common" }}
{{- range $key, $value := .Values.redis }}
{{- if and $value (not (has $key $known)) }}{{ $ignored = append $ignored (printf "redis.%s" $key) }}{{ end }}
{{- end }}
{{- range $key, $value := .Values.redis.master }}
{{- if and $value (not (has $key (list "persistence" "resources" "nodeSelector" "tolerations" "affinity" "priorityClassName" "podAnnotations"))) }}{{ $ignored = append $ignored (printf "redis.master.%s" $key) }}{{ end }}
{{- end }}
{{- if .Values.redis.replica }}{{ $ignored = append $ignored "redis.replica" }}{{ end }}
{{- if .Values.memphis }}{{ $ignored = append $ignored "memphis (the chart brings no broker; cp.memphis names yours)" }}{{ end }}
{{- if and $ignored (or .Values.redis.enabled .Values.memphis) }}
Note: not used of your values: {{ join ", " $ignored }}.
{{- end }}
{{- $claim := printf "redis-data-%s-redis-master-0" .Release.Name }}
{{- if and (include "transporter-cp.was01" .) (not .Values.migrate.from01.enabled) }}
!!! FROM 0.1: the Redis of its chart is not part of this one{{ ternary ", and SQLite is the default now (redis.enabled=true brings a Redis again)" "" (eq (include "transporter-cp.storeType" .) "sqlite") }}. A Redis of your own: migrate.from01.addr=HOST:PORT brings over what it holds.
{{- end }}
{{- if and (lookup "v1" "PersistentVolumeClaim" .Release.Namespace $claim) (not .Values.migrate.from01.enabled) }}
Note: the Redis of 0.1's chart left the claim {{ $claim }}. To bring over what it holds:
    helm upgrade {{ .Release.Name }} ... --reset-then-reuse-values --set migrate.from01.enabled=true,migrate.from01.existingClaim={{ $claim }}
    Then turn that off again, and kubectl -n {{ .Release.Namespace }} delete pvc {{ $claim }}. docs/upgrade.md has all of it.
{{- end }}
{{- end }}

{{/* Whether what this upgrade replaces is the control plane of 0.1: ours says whose part it is. */}}
{{- define "transporter-cp.was01" -}}
{{- if .Release.IsUpgrade }}
{{- $old := lookup "apps/v1" "Deployment" .Release.Namespace (include "transporter-cp.fullname" .) }}
{{- if and $old (ne "transporter" (dig "metadata" "labels" "app.kubernetes.io/part-of" "" $old)) }}true{{ end }}
{{- end }}
{{- end }}
