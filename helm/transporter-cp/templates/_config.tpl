{{/* What the values mean: where events are kept, which names the certificate has, flags and environment of the control plane. */}}

{{/* 0.1's values named the server of its sub-chart, which is not there any more; the chart's own stands for it. */}}
{{- define "transporter-cp.redisAddr" -}}
{{- $addr := .Values.cp.redis.addr | default "" }}
{{- if not (and .Values.redis.enabled (regexMatch "-redis-master(\\.|:|$)" $addr)) }}{{ $addr }}{{ end }}
{{- end }}

{{- define "transporter-cp.redisNamed" -}}
{{- if or .Values.redis.enabled (include "transporter-cp.redisAddr" .) .Values.store.url .Values.store.existingSecret }}true{{ end }}
{{- end }}

{{- define "transporter-cp.storeType" -}}
{{- if .Values.store.type }}{{ .Values.store.type }}
{{- else if include "transporter-cp.redisNamed" . }}redis
{{- else }}sqlite
{{- end }}
{{- end }}

{{/* Whether the chart's own server is wanted: an address of somebody else's goes over it. */}}
{{- define "transporter-cp.ownRedis" -}}
{{- if and .Values.redis.enabled (eq (include "transporter-cp.storeType" .) "redis") (not (include "transporter-cp.redisAddr" .)) (not .Values.store.url) (not .Values.store.existingSecret) }}true{{ end }}
{{- end }}

{{/* Empty where the whole address is in a Secret. */}}
{{- define "transporter-cp.storeURL" -}}
{{- if eq (include "transporter-cp.storeType" .) "sqlite" -}}
sqlite:/var/lib/transporter/cp.db
{{- else if include "transporter-cp.ownRedis" . -}}
redis://{{ include "transporter-cp.redisName" . }}:6379/{{ int .Values.cp.redis.db }}
{{- else if not .Values.store.existingSecret }}
{{- $r := .Values.cp.redis }}
{{- $parameters := list }}
{{- if and $r.tls.enabled (not .Values.store.url) }}
  {{- if $r.tls.existingSecret }}{{ $parameters = append $parameters "ca=/etc/transporter/redis-tls/ca.crt" }}{{ end }}
  {{- if $r.tls.clientCertificate }}{{ $parameters = concat $parameters (list "cert=/etc/transporter/redis-tls/tls.crt" "key=/etc/transporter/redis-tls/tls.key") }}{{ end }}
  {{- if $r.tls.serverName }}{{ $parameters = append $parameters (printf "server-name=%s" ($r.tls.serverName | urlquery)) }}{{ end }}
{{- end }}
{{- if .Values.store.sentinelPassword.existingSecret }}{{ $parameters = append $parameters "sentinel-password-file=/etc/transporter/sentinel/password" }}{{ end }}
{{- $url := .Values.store.url }}
{{- if not $url }}
  {{- $user := ternary (printf "%s@" ($r.username | urlquery)) "" (ne $r.username "") }}
  {{- $url = printf "%s://%s%s/%d" (ternary "rediss" "redis" $r.tls.enabled) $user (include "transporter-cp.redisAddr" .) (int $r.db) }}
{{- end }}
{{- if $parameters }}
  {{- $url = printf "%s%s%s" $url (ternary "&" "?" (contains "?" $url)) (join "&" $parameters) }}
{{- end }}
{{- $url }}
{{- end }}
{{- end }}

{{- define "transporter-cp.queueGiven" -}}
{{- if or .Values.queue.url .Values.cp.memphis.enabled }}true{{ end }}
{{- end }}

{{/* The control plane makes and keeps its CA by itself, in a Secret that the chart makes empty. */}}
{{- define "transporter-cp.ownCA" -}}
{{- if and .Values.security.enabled (not .Values.security.existingSecret) (not .Values.security.certManager.enabled) }}true{{ end }}
{{- end }}

{{- define "transporter-cp.tlsSecret" -}}
{{- default (printf "%s-tls" (include "transporter-cp.fullname" .)) .Values.security.existingSecret }}
{{- end }}

{{/* Names of the server certificate, one a line: what people and agents may call it by. */}}
{{- define "transporter-cp.serverNames" -}}
{{- $name := include "transporter-cp.fullname" . }}
{{- $names := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.%s" $name .Release.Namespace .Values.clusterDomain) }}
{{- $names = concat $names (default list .Values.security.names) (default list .Values.service.externalIPs) }}
{{- with .Values.service.loadBalancerIP }}{{ $names = append $names . }}{{ end }}
{{- if .Values.ingress.enabled }}{{ $names = concat $names (default list .Values.ingress.hosts) }}{{ end }}
{{- if .Values.gateway.enabled }}{{ $names = concat $names (default list .Values.gateway.hostnames) (default list .Values.gateway.agents.hostnames) }}{{ end }}
{{- with include "transporter-cp.agentsURL" . }}
  {{- $names = append $names (regexReplaceAll "^\\[?(.*?)\\]?(:[0-9]+)?$" (urlParse .).host "${1}") }}
{{- end }}
{{- $names | uniq | join "\n" }}
{{- end }}

{{- define "transporter-cp.agentsURL" -}}
{{- if .Values.security.agentsURL }}
{{- .Values.security.agentsURL }}
{{- else if and .Values.gateway.enabled .Values.gateway.agents.enabled .Values.gateway.agents.hostnames }}
{{- $port := int .Values.gateway.agents.port }}
{{- printf "wss://%s%s/ws" (first .Values.gateway.agents.hostnames) (ternary "" (printf ":%d" $port) (eq $port 443)) }}
{{- else if and (eq .Values.service.type "NodePort") .Values.service.agentsNodePort .Values.security.names }}
{{- printf "wss://%s/ws" (include "transporter-cp.listen" (dict "addr" (first .Values.security.names) "port" .Values.service.agentsNodePort)) }}
{{- end }}
{{- end }}

{{/* Where the API speaks plain HTTP: without security, or behind a proxy that ends TLS. */}}
{{- define "transporter-cp.apiPlain" -}}
{{- if or (not .Values.security.enabled) .Values.security.tlsByProxy }}true{{ end }}
{{- end }}

{{/* An address to listen on with a port; IPv6 in brackets. */}}
{{- define "transporter-cp.listen" -}}
{{- if contains ":" .addr }}[{{ .addr }}]{{ else }}{{ .addr }}{{ end }}:{{ int .port }}
{{- end }}

{{- define "transporter-cp.args" -}}
{{- $s := .Values.security }}
{{- $args := list "cp" }}
{{- $args = concat $args (list "--ws-addr" .Values.cp.wsAddr "--ws-port" (int .Values.cp.wsPort | toString) "--probe-port" (int .Values.probes.port | toString)) }}
{{- $args = concat $args (list "--log-format" .Values.logFormat) }}
{{- if .Values.debug }}{{ $args = append $args "--debug" }}{{ end }}
{{- with include "transporter-cp.storeURL" . }}{{ $args = concat $args (list "--store" .) }}{{ end }}
{{- if eq (include "transporter-cp.storeType" .) "redis" }}
  {{- $args = concat $args (list "--drain" (printf "%ds" (int .Values.cp.drainSeconds))) }}
  {{- /* Shown to people by `get replicas`; the name, since an IPv6 address would need brackets that nothing puts here. */}}
  {{- $args = concat $args (list "--advertise" (printf "%s://$(POD_NAME):%d" (ternary "http" "https" (eq (include "transporter-cp.apiPlain" .) "true")) (int .Values.cp.wsPort))) }}
  {{- if .Values.cp.redisCompatKeys }}{{ $args = append $args "--redis-compat-keys" }}{{ end }}
{{- end }}
{{- range $flag, $value := dict "--heartbeat-timeout" .Values.cp.heartbeatTimeout "--retention" .Values.cp.retention "--audit-retention" .Values.cp.auditRetention "--max-event-bytes" (include "transporter-cp.plain" .Values.cp.maxEventBytes) "--publish-to" .Values.publish.to "--queue" .Values.queue.url "--publish" (join "," .Values.publish.kinds) }}
  {{- if $value }}{{ $args = concat $args (list $flag (toString $value)) }}{{ end }}
{{- end }}
{{- $args = concat $args (list "--event-retry-max" (int .Values.cp.eventRetryMax | toString) "--max-in-flight" (int .Values.cp.maxInFlight | toString)) }}
{{- if .Values.cp.memphis.enabled }}
  {{- $m := .Values.cp.memphis }}
  {{- $args = concat $args (list "--memphis-enabled" "--memphis-username" $m.username "--memphis-station" $m.station "--memphis-account-id" (int $m.accountID | toString)) }}
  {{- with $m.host }}{{ $args = concat $args (list "--memphis-host" .) }}{{ end }}
{{- end }}
{{- if $s.enabled }}
  {{- $args = concat $args (include "transporter-cp.securityArgs" . | fromJsonArray) }}
{{- else }}
  {{- $args = append $args "--insecure" }}
{{- end }}
{{- concat $args (default list .Values.extraArgs) | toJson }}
{{- end }}

{{- define "transporter-cp.securityArgs" -}}
{{- $s := .Values.security }}
{{- $args := list "--agent-port" "8443" "--tls-min" (toString $s.tlsMin) }}
{{- if include "transporter-cp.ownCA" . }}
  {{- $args = concat $args (list "--security-secret" (printf "%s/%s" .Release.Namespace (include "transporter-cp.securitySecret" .)) "--security-dir" "/run/transporter") }}
  {{- range splitList "\n" (include "transporter-cp.serverNames" .) }}{{ $args = concat $args (list "--tls-name" .) }}{{ end }}
{{- else }}
  {{- $args = concat $args (list "--ca-file" "/etc/transporter/tls/ca.crt" "--tls-cert-file" "/etc/transporter/tls/tls.crt" "--tls-key-file" "/etc/transporter/tls/tls.key") }}
  {{- if or $s.existingSecretCAKey (and $s.certManager.enabled $s.certManager.ca) }}{{ $args = concat $args (list "--ca-key-file" "/etc/transporter/ca/ca.key") }}{{ end }}
{{- end }}
{{- with include "transporter-cp.agentsURL" . }}{{ $args = concat $args (list "--advertise-agents" .) }}{{ end }}
{{- if $s.approveEnrolments }}{{ $args = append $args "--approve-enrolments" }}{{ end }}
{{- range $flag, $value := dict "--certificate-ttl" $s.certificateTTL "--renewal-grace" $s.renewalGrace "--trusted-proxies" (join "," $s.trustedProxies) "--oidc-issuer" $s.oidc.issuer "--oidc-audience" $s.oidc.audience "--oidc-algorithms" (join "," $s.oidc.algorithms) "--oidc-jwks" $s.oidc.jwks "--oidc-username-claim" $s.oidc.usernameClaim "--oidc-roles-claim" $s.oidc.rolesClaim }}
  {{- if $value }}{{ $args = concat $args (list $flag $value) }}{{ end }}
{{- end }}
{{- range $role, $values := $s.oidc.roles }}
  {{- range $values }}{{ $args = concat $args (list "--oidc-role" (printf "%s=%s" $role .)) }}{{ end }}
{{- end }}
{{- if $s.oidc.ca.existingSecret }}{{ $args = concat $args (list "--oidc-ca-file" "/etc/transporter/oidc/ca.crt") }}{{ end }}
{{- range $cluster := $s.trustClusters }}
  {{- $parts := list }}
  {{- range $key := list "name" "issuer" "subjects" "agents" "jwks" "ca" "audience" }}
    {{- with index $cluster $key }}{{ $parts = append $parts (printf "%s=%s" $key (ternary (join "," .) (toString .) (kindIs "slice" .))) }}{{ end }}
  {{- end }}
  {{- $args = concat $args (list "--trust-cluster" (join ";" $parts)) }}
{{- end }}
{{- if $s.tlsByProxy }}{{ $args = append $args "--tls-by-proxy" }}{{ end }}
{{- if $s.agentsBehindProxy }}{{ $args = append $args "--agents-behind-proxy" }}{{ end }}
{{- if $s.admin.existingSecret }}{{ $args = concat $args (list "--admin-token-file" "/etc/transporter/admin/token") }}{{ end }}
{{- if $s.clientCA.existingSecret }}{{ $args = concat $args (list "--client-ca-file" "/etc/transporter/client-ca/ca.crt") }}{{ end }}
{{- if $s.crl.existingSecret }}{{ $args = concat $args (list "--crl-file" "/etc/transporter/crl/crl.pem") }}{{ end }}
{{- if .Values.legacy.enabled }}
  {{- $args = concat $args (list "--legacy-addr" (include "transporter-cp.listen" (dict "addr" .Values.cp.wsAddr "port" .Values.legacy.port)) "--legacy-agents" (join "," .Values.legacy.agents)) }}
{{- end }}
{{- $args | toJson }}
{{- end }}
