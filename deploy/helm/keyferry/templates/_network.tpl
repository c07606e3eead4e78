{{/* Rules of NetworkPolicies. */}}

{{/* (list $ component): the head of a policy that allows only what follows. */}}
{{- define "keyferry.policy" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "keyferry.fullname" $root }}-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "keyferry.labels" . | nindent 4 }}
spec:
  policyTypes: [Ingress, Egress]
  podSelector:
    matchLabels:
      {{- include "keyferry.selector" . | nindent 6 }}
{{- end -}}

{{/* (list $ component...): these of our pods, as peers. */}}
{{- define "keyferry.peers" -}}
{{- $root := first . -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: keyferry
      app.kubernetes.io/instance: {{ $root.Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ rest . | toJson }}}
{{- end -}}

{{/* (list port...) */}}
{{- define "keyferry.ports" -}}
ports:
{{- range . }}
  - {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- end -}}

{{/* (list $ port) */}}
{{- define "keyferry.fromMetrics" -}}
- {{ include "keyferry.ports" (list (index . 1)) | nindent 2 | trim }}
  {{- with (index . 0).Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "keyferry.toDns" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "keyferry.toNats" -}}
- {{ include "keyferry.ports" (list .Values.nats.port) | nindent 2 | trim }}
  {{- if .Values.nats.enabled }}
  to:
    {{- include "keyferry.peers" (list . "nats") | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "keyferry.toRedis" -}}
- {{ include "keyferry.ports" (list (ternary 6379 .Values.redis.port .Values.valkey.enabled)) | nindent 2 | trim }}
  {{- if .Values.valkey.enabled }}
  to:
    {{- include "keyferry.peers" (list . "valkey") | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The collector, wherever it is: its port is in its URL. */}}
{{- define "keyferry.toTelemetry" -}}
{{- $settings := .Values.telemetry.settings -}}
{{- range $variable := list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" -}}
{{- with get $settings $variable -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
- {{ include "keyferry.ports" (list $port) | nindent 2 | trim }}
{{ end -}}
{{- end -}}
{{- end -}}
