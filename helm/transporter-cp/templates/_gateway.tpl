{{- define "transporter-cp.gatewayKind" -}}
{{- $g := .Values.gateway }}
{{- if $g.api.kind }}{{ $g.api.kind }}
{{- else if or (include "transporter-cp.apiPlain" .) $g.api.backendTLS.enabled }}HTTPRoute
{{- else }}TLSRoute
{{- end }}
{{- end }}

{{- define "transporter-cp.gatewayEndsTLS" -}}
{{- if and .Values.gateway.enabled .Values.gateway.api.enabled (eq (include "transporter-cp.gatewayKind" .) "HTTPRoute") }}true{{ end }}
{{- end }}

{{- define "transporter-cp.tlsRouteVersion" -}}
{{- $versions := .Capabilities.APIVersions }}
{{- if .Values.gateway.tlsRouteVersion }}{{ .Values.gateway.tlsRouteVersion }}
{{- else if $versions.Has "gateway.networking.k8s.io/v1/TLSRoute" }}v1
{{- else if $versions.Has "gateway.networking.k8s.io/v1alpha3/TLSRoute" }}v1alpha3
{{- else }}v1alpha2
{{- end }}
{{- end }}

{{- define "transporter-cp.route" -}}
{{- $v := .root.Values.gateway }}
apiVersion: gateway.networking.k8s.io/{{ ternary "v1" (include "transporter-cp.tlsRouteVersion" .root) (eq .kind "HTTPRoute") }}
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "transporter-cp.labels" .root | nindent 4 }}
    {{- with $v.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "transporter-cp.annotations" (dict "root" .root "own" $v.annotations) }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  parentRefs:
    {{- .parentRefs | default $v.parentRefs | toYaml | nindent 4 }}
  {{- with .hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - backendRefs:
        - name: {{ include "transporter-cp.fullname" .root }}
          port: {{ int .port }}
      {{- if eq .kind "HTTPRoute" }}
      matches:
        - path:
            type: PathPrefix
            value: {{ .path | default "/" }}
      {{- with .filters }}
      filters:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      # Streams of events and agents' sockets stay open for as long as they like.
      timeouts:
        request: 0s
      {{- end }}
{{- end }}
