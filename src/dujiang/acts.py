"""The table of contents: every act of Dujiang, and every refusal it can say.

Functions are named by text (`<package>.<act>`) and loaded when first needed; verbs, HTTP operations,
permissions and their documentation are derived from these rows.
"""

from __future__ import annotations

import importlib
from functools import cache

from dujiang.kernel.act import Act, Effect
from dujiang.kernel.errors import Code

READS, WRITES, KEEPS = Effect.reads, Effect.writes, Effect.keeps
_ANY = ("member",)
_NODE = ("node",)

ACTS: dict[str, Act] = {
    act.name: act
    for act in (
        Act("ledger.list", READS, _ANY, "List log entries", "列出存证条目", "history", ("about",)),
        Act(
            "ledger.search", READS, _ANY, "Search the log", "检索存证条目", positional=("about",),
            examples=("dujiang ledger search --contract CONTRACT --act cleanroom.ask --since 2026-11-01",),
        ),
        Act(
            "ledger.replay", READS, _ANY, "Follow one question or contract, with proofs", "回放一次查询或合约",
            "replay", ("id",), examples=("dujiang replay JOB", "dujiang replay CONTRACT --out evidence"),
        ),
        Act(
            "ledger.export", READS, _ANY, "Write an evidence bundle", "导出证据包",
            examples=("dujiang ledger export --contract CONTRACT --out evidence.zip",),
        ),
        Act(
            "ledger.retain", WRITES, ("operator",), "Publish how long records are kept", "公布记录留存政策", None,
            ("days",), examples=("dujiang ledger retain 365",),
        ),
        Act("ledger.prune", WRITES, ("operator",), "Prune records kept long enough", "清理到期记录"),
        Act("ledger.fsck", READS, ("auditor", "operator"), "Examine the whole log", "检查整份日志"),
        Act("ledger.show", READS, _ANY, "Show a log entry", "查看存证条目", shows=("entry",)),
        Act("ledger.prove", READS, _ANY, "Get the receipt of an entry", "获取条目回执", "receipt", ("entry",)),
        Act("ledger.consistency", READS, _ANY, "Prove that the log only grew", "证明日志只增不改"),
        Act(
            "ledger.attest", WRITES, _ANY, "Attest records of another system", "为其他系统的记录存证",
            positional=("records",), examples=("dujiang ledger attest readings.jsonl --out receipts.jsonl",),
        ),
        Act(
            "ledger.appoint", WRITES, ("operator",), "Appoint a witness of this log", "任命见证方",
            positional=("url",), examples=("dujiang ledger appoint http://other:8000/log --vkeys http://other:8000/log/vkeys",),
        ),
        Act("ledger.dismiss", WRITES, ("operator",), "Dismiss a witness", "解任见证方", positional=("name",)),
        Act(
            "ledger.watch", WRITES, ("operator",), "Watch and cosign another log", "监看并联署其他日志",
            positional=("vkeys",), examples=("dujiang ledger watch http://other:8000/log/vkeys",),
        ),
        Act("ledger.unwatch", WRITES, ("operator",), "Cosign a log no more", "停止监看日志", positional=("origin",)),
        Act(
            "ledger.quorum", WRITES, ("operator",), "Set how many witnesses must cosign", "设定见证法定数",
            positional=("least",), examples=("dujiang ledger quorum 2 --fresh-s 60",),
        ),
        Act("ledger.witnesses", READS, _ANY, "See witnesses and watched logs", "查看见证情况"),
        Act("ledger.forks", READS, ("operator", "auditor"), "List evidence of forked logs", "查看日志分叉证据"),
        Act("ledger.cosign", KEEPS, _NODE, "Cosign a checkpoint", "联署检查点"),
        Act("ledger.publish", KEEPS, _NODE, "Sign the head that is published", "签署发布的检查点"),
        Act("ledger.collect", KEEPS, _NODE, "Keep what a witness answered", "保存见证方的答复"),
        Act("ledger.restore", WRITES, _NODE, "Go on under a new log name", "以新名称延续日志"),
        Act("ledger.keys", READS, ("anyone",), "List the keys of the log", "列出日志密钥"),
        Act(
            "ledger.rotate", WRITES, ("operator",), "Give the log a new key", "轮换日志密钥",
            examples=("dujiang ledger rotate --overlap-days 30",),
        ),
        Act(
            "ledger.disown", WRITES, ("operator",), "Disown a stolen log key", "弃用被盗的日志密钥",
            positional=("vkey",), examples=("dujiang ledger disown VKEY --size 4711",),
        ),
        Act("identity.register", WRITES, ("operator", "node"), "Admit an organisation", "接入机构", None, ("name",)),
        Act("identity.describe", WRITES, _ANY, "Say your organisation's province and sector", "填报所在省份与行业"),
        Act("identity.invite", WRITES, _ANY, "Add a person to your organisation", "添加经办人", positional=("name",)),
        Act("identity.grant", WRITES, _ANY, "Issue an API key", "签发密钥"),
        Act(
            "identity.assign", WRITES, _ANY, "Give a person other roles", "变更人员角色", positional=("person",),
            examples=("dujiang identity assign PERSON --roles provider,consumer",),
        ),
        Act("identity.unlock", WRITES, _ANY, "Let a person sign in again", "解除登录锁定", positional=("person",)),
        Act("identity.password", WRITES, _ANY, "Change your password", "修改密码"),
        Act("identity.revoke", WRITES, _ANY, "Revoke a key or a person", "吊销密钥或人员", positional=("id",)),
        Act(
            "identity.erase", WRITES, _ANY, "Erase a revoked person", "删除人员个人信息", positional=("person",),
        ),
        Act("identity.rotate", WRITES, _NODE, "Give organisations new signing keys", "更换机构签名密钥"),
        Act("identity.show", READS, ("anyone",), "Show an organisation", "查看机构", None, ("id",), shows=("org",)),
        Act("identity.list", READS, _ANY, "List people and keys", "列出人员与密钥"),
        Act("identity.login", KEEPS, ("anyone",), "Sign in with a password", "密码登录"),
        Act("identity.link", KEEPS, _ANY, "Make a single-use sign-in link", "生成一次性登录链接"),
        Act("identity.enter", KEEPS, ("anyone",), "Sign in with a single-use link", "使用一次性链接登录"),
        Act("identity.leave", KEEPS, ("anyone",), "Sign out", "退出登录"),
        Act(
            "registry.check", READS, ("provider",), "See what a table would be registered as", "预览登记建议",
            verb="propose", positional=("upload",),
        ),
        Act("registry.register", WRITES, ("provider",), "Register a table", "登记数据资源", positional=("upload",)),
        Act("registry.show", READS, _ANY, "Show a resource", "查看数据资源", positional=("id",), shows=("res", "ver")),
        Act("registry.export", READS, _ANY, "Get a registration certificate", "获取登记证书", positional=("version",)),
        Act(
            "registry.verify", READS, ("anyone",), "Check a certificate's state", "核验证书状态", None,
            ("certificate",),
        ),
        Act(
            "registry.grant", WRITES, ("provider",), "Grant a right in a resource", "授予数据产权",
            positional=("resource", "to"),
            examples=("dujiang registry grant RESOURCE ORGANISATION --right operate --until 2027-12-31",),
        ),
        Act("registry.revoke", WRITES, ("provider",), "Revoke a grant", "撤销授权", positional=("grant",)),
        Act(
            "registry.transfer", WRITES, ("provider",), "Transfer a resource", "转让数据资源", None, ("resource", "to"),
        ),
        Act("registry.withdraw", WRITES, ("provider",), "Withdraw a registration", "注销登记", None, ("resource",)),
        Act("registry.list", READS, _ANY, "List your rights in resources", "列出数据产权"),
        Act(
            "quality.grade", WRITES, ("provider",), "Grade a version's quality", "质量评级", "grade", ("version",),
            examples=("dujiang grade VERSION --rules rules.toml",),
        ),
        Act("quality.show", READS, _ANY, "Show a version's grade", "查看质量等级", positional=("version",)),
        Act(
            "quality.export", READS, ("provider",), "Get a dataset card or data contract", "导出数据集卡片或数据合同",
            positional=("version",), examples=("dujiang quality export VERSION --form odcs --json",),
        ),
        Act(
            "catalogue.offer", WRITES, ("provider",), "Register and publish a table", "登记并上架数据",
            verb="offer", positional=("upload",), preview="registry.check",
            examples=("dujiang offer visits.csv --entity patient --terms terms.toml",),
        ),
        Act(
            "catalogue.publish", WRITES, ("provider",), "Publish a new version", "发布新版本", None,
            ("product", "upload"),
        ),
        Act(
            "catalogue.answer", WRITES, ("provider",), "Say how requests are answered", "设定申请的应答策略",
            positional=("product", "strategy"),
        ),
        Act("catalogue.withdraw", WRITES, ("provider",), "Withdraw a product", "下架产品", positional=("product",)),
        Act(
            "catalogue.search", READS, _ANY, "Find products", "查找产品", verb="find", positional=("words",),
            examples=("dujiang find blood pressure", "dujiang find 血压"),
        ),
        Act("catalogue.show", READS, _ANY, "Show a product", "查看产品", positional=("id",), shows=("prd",)),
        Act("catalogue.list", READS, _ANY, "List your products", "列出本机构产品"),
        Act(
            "contract.request", WRITES, ("consumer",), "Agree a contract", "签订合约", verb="agree",
            positional=("product",), until=("contract.show", "contract"),
            examples=("dujiang agree PRODUCT --purpose analyse",),
        ),
        Act("contract.inbox", READS, _ANY, "See what waits for you and what happened", "查看收件箱", "inbox"),
        Act("contract.look", KEEPS, _ANY, "Mark the inbox as looked at", "标记收件箱已读", positional=("upto",)),
        Act(
            "contract.accept", WRITES, ("provider", "consumer"), "Accept what waits for you", "接受待办的申请或反要约",
            positional=("contract",), until=("contract.show", "contract"),
        ),
        Act(
            "contract.refuse", WRITES, ("provider", "consumer"), "Refuse what waits for you", "拒绝待办的申请或反要约",
            positional=("contract",),
        ),
        Act(
            "contract.counter", WRITES, ("provider", "consumer"), "Answer with changed terms", "以变更后的条款答复",
            positional=("contract",), examples=("dujiang contract counter NEGOTIATION --days 30 --questions 20",),
        ),
        Act(
            "contract.comment", WRITES, ("provider", "consumer"), "Send the other side a remark", "给对方留言",
            positional=("contract", "text"),
        ),
        Act("contract.hear", WRITES, _NODE, "Hear a message of the other side", "处理对方消息"),
        Act("contract.terminate", WRITES, ("provider", "consumer"), "End a contract", "终止合约", None, ("contract",)),
        Act(
            "contract.show", READS, _ANY, "Show a contract", "查看合约", positional=("contract",), shows=("ctr", "neg"),
        ),
        Act("contract.list", READS, _ANY, "List your contracts", "列出合约"),
        Act(
            "cleanroom.check", READS, ("consumer",), "See what a question would take", "预估查询用量",
            verb="quote", positional=("contracts", "sql"),
        ),
        Act(
            "cleanroom.ask", WRITES, ("consumer",), "Ask a question", "提问", verb="ask",
            positional=("contracts", "sql"), until=("cleanroom.show", "job"), preview="cleanroom.check",
            examples=('dujiang ask CONTRACT "select sex, count(*) from visits group by sex" --out answer.csv',),
        ),
        Act(
            "cleanroom.stop", WRITES, ("provider", "consumer"), "Stop a question", "停止查询", "stop", ("job",),
        ),
        Act("cleanroom.pending", READS, _NODE, "List questions to run", "列出待计算的查询"),
        Act("cleanroom.complete", WRITES, _NODE, "Complete a question", "完成计算"),
        Act("cleanroom.show", READS, _ANY, "Show an answer", "查看答案", positional=("job",), shows=("job",)),
        Act("cleanroom.list", READS, _ANY, "List questions", "列出查询"),
        Act(
            "market.quote", KEEPS, ("consumer",), "See what it would cost", "获取报价",
            examples=("dujiang market quote --product PRODUCT",),
        ),
        Act(
            "market.deposit", WRITES, ("operator",), "Credit money that arrived", "入账充值", None,
            ("org", "amount", "currency"),
            examples=("dujiang market deposit INSURER 1000.00 CNY --reference BANK-1",),
        ),
        Act(
            "market.withdraw", WRITES, ("operator",), "Debit money that was paid out", "提款出账", None,
            ("org", "amount", "currency"),
        ),
        Act(
            "market.order", WRITES, ("consumer",), "Put money on a contract", "为合约充入额度", None,
            ("contract", "amount"),
        ),
        Act(
            "market.bill", WRITES, ("provider", "operator"), "Bill what was used", "出具账单", None, ("contract",),
        ),
        Act("market.settle", WRITES, ("operator", "provider"), "Settle a bill", "结算账单", None, ("bill",)),
        Act("market.refund", WRITES, ("provider", "operator"), "Refund a bill", "退款", None, ("bill", "reason")),
        Act("market.show", READS, _ANY, "Show a bill", "查看账单", None, ("bill",), shows=("bil",)),
        Act("market.list", READS, _ANY, "List accounts and bills", "列出账户与账单"),
        Act("market.statement", READS, _ANY, "Get a statement of account", "获取对账单"),
        Act("market.export", READS, _ANY, "Get a statement as a file", "导出对账文件"),
        Act("market.check", READS, ("operator", "auditor"), "Check the books", "核对账簿"),
        Act(
            "observatory.show", READS, _ANY, "Show figures of the log", "查看流通指标", verb="figures",
            examples=("dujiang figures --by province", "dujiang figures --by purpose --period 2026-11"),
        ),
        Act(
            "observatory.reconcile", READS, ("auditor", "operator"), "Compare the log with what is kept",
            "核对存证与业务记录", verb="reconcile",
        ),
        Act("observatory.list", READS, _ANY, "List a figure's entries", "列出指标的存证条目", positional=("cell",)),
        Act("post.list", READS, _NODE, "List messages to deliver", "列出待投递消息"),
        Act("post.deliver", KEEPS, _NODE, "Mark a delivery attempt", "记录投递结果"),
    )
}  # fmt: skip

_DECLARING = (
    "kernel.config", "kernel.writer", "kernel.runner", "ledger.model", "identity.model", "post.model",
    "registry.model", "registry.right", "quality.model", "policy.model", "catalogue.model", "contract.model",
    "cleanroom.model", "market.model", "observatory.model",
)  # fmt: skip


@cache
def codes() -> dict[str, Code]:
    """The refusals of every package below, by code."""
    table: dict[str, Code] = {}
    for name in _DECLARING:
        for code in importlib.import_module(f"dujiang.{name}").CODES:
            table[code.name] = code
    return table
