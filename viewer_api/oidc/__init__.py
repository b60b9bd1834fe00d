"""Sign-in at other providers: OpenID Connect Core 1.0 with the authorization code and PKCE (RFC 7636)."""
