{{/* nats.conf; docs/running.md says why max_payload. */}}
{{- define "keyferry.natsConfig" -}}
{{- $name := printf "%s-nats" (include "keyferry.fullname" .) -}}
server_name: $POD_NAME
listen: "0.0.0.0:{{ .Values.nats.port }}"
http: "0.0.0.0:8222"
max_payload: 8MB
jetstream {
  store_dir: "/data"
  max_memory_store: 64MB
  max_file_store: {{ .Values.nats.maxFileStore }}
}
{{- $replicas := int .Values.nats.replicas }}
{{- if gt $replicas 1 }}
cluster {
  name: "{{ $name }}"
  listen: "0.0.0.0:6222"
  routes: [
    {{- range $i := until $replicas }}
    "nats://{{ $name }}-{{ $i }}.{{ $name }}-servers.{{ $.Release.Namespace }}.svc:6222"
    {{- end }}
  ]
}
{{- end }}
{{- end -}}
