{{/* valkey.conf: TLS alone, no user but ours (users.acl is what the keys Job makes), nothing on disk, nothing evicted. */}}
{{- define "keyferry.valkeyConfig" -}}
port 0
tls-port 6379
tls-cert-file /etc/valkey/tls/tls.crt
tls-key-file /etc/valkey/tls/tls.key
tls-ca-cert-file /etc/valkey/ca.crt
tls-auth-clients no
tls-protocols "TLSv1.3"
bind * -::*
aclfile /etc/valkey/users.acl
save ""
appendonly no
dir /data
maxmemory {{ .Values.valkey.maxMemory }}
maxmemory-policy noeviction
{{- end -}}
