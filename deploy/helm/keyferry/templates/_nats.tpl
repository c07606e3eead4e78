{{/* nats.conf; docs/running.md says why max_payload. auth.conf is what the keys Job makes: who may do what. */}}
{{- define "keyferry.natsConfig" -}}
{{- $name := printf "%s-nats" (include "keyferry.fullname" .) -}}
server_name: $POD_NAME
listen: "0.0.0.0:{{ .Values.nats.port }}"
http: "0.0.0.0:8222"
max_payload: 8MB
tls {
  cert_file: "/etc/nats/tls/tls.crt"
  key_file: "/etc/nats/tls/tls.key"
  min_version: "1.3"
  handshake_first: true
}
include "auth.conf"
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
  no_advertise: true  # clients go by the Service's name, which the certificate has; it has no addresses of pods
  tls {
    cert_file: "/etc/nats/tls/tls.crt"
    key_file: "/etc/nats/tls/tls.key"
    ca_file: "/etc/nats/ca.crt"
    min_version: "1.3"
  }
  routes: [
    {{- range $i := until $replicas }}
    "nats://{{ $name }}-{{ $i }}.{{ $name }}-servers.{{ $.Release.Namespace }}.svc:6222"
    {{- end }}
  ]
}
{{- end }}
{{- end -}}
